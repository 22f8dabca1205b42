#include "peft/rwkv_format.hpp"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <string>
#include <vector>

#include "backends/error.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"
#include "test/paths.hpp"

using namespace osteon;
using osteon::test::contains;
using osteon::test::message_of;
using osteon::test::TemporaryFolder;
using peft::RwkvKind;
namespace fs = std::filesystem;

namespace {

struct Part {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

void write(const fs::path& path, const std::vector<Part>& parts) {
  std::vector<io::TensorToWrite> tensors;
  for (const Part& part : parts)
    tensors.push_back(io::tensor_to_write(part.name, DType::f32, part.shape, part.values.data()));
  io::write_tensor_file(path, tensors);
}

Part zeros(const std::string& name, const Shape& shape) {
  return {name, shape, std::vector<float>(static_cast<std::size_t>(shape.numel()))};
}

std::vector<float> floats(const io::TensorFile& file, const std::string& name) {
  std::vector<float> values(static_cast<std::size_t>(file.info(name).numel));
  file.read_into(name, values.data(), DType::f32);
  return values;
}

std::string refusal(const std::vector<Part>& parts) {
  const TemporaryFolder folder;
  write(folder / "adapter.pth", parts);
  return message_of([&] { peft::read_rwkv_adapter(io::TensorFile(folder / "adapter.pth")); });
}

/// The base {"m.weight" [4,4], "wide.weight" [4,6], "ln.weight" [4]} merged with an adapter.
std::string merge_error(const std::vector<Part>& parts, RwkvKind kind, bool start = false) {
  const TemporaryFolder folder;
  write(folder / "base.pth", {zeros("m.weight", {4, 4}), zeros("wide.weight", {4, 6}), zeros("ln.weight", {4})});
  write(folder / "adapter.pth", parts);
  const io::TensorFile base(folder / "base.pth"), adapter(folder / "adapter.pth");
  const std::string message =
      message_of([&] { peft::merge_rwkv(base, adapter, start ? &adapter : nullptr, kind, 16, folder / "out.pth"); });
  CHECK(fs::exists(folder / "out.pth") == (message == "no error"));
  return message;
}

}  // namespace

TEST_CASE("rwkv adapter: kind, rank, modules and full parameters") {
  const TemporaryFolder folder;
  write(folder / "a.pth", {zeros("b.0.key.bone", {3, 8}), zeros("b.0.ln1.weight", {8})});
  const peft::RwkvAdapter bone = peft::read_rwkv_adapter(io::TensorFile(folder / "a.pth"));
  CHECK(bone.kind == RwkvKind::bone);
  CHECK(bone.rank == 3);
  CHECK(bone.suffix == "bone");
  CHECK(bone.modules == std::vector<std::string>{"b.0.key"});
  CHECK(bone.full_parameters == std::vector<std::string>{"b.0.ln1.weight"});
  CHECK(contains(refusal({zeros("w", {2})}), "expected an adapter of RWKV-PEFT"));
  CHECK(contains(refusal({zeros("m.lora_A", {2, 4})}), "expected m.lora_B beside it"));
  CHECK(contains(refusal({zeros("m.lora_B", {4, 2})}), "expected m.lora_A beside it"));
  CHECK(contains(refusal({zeros("m.lora_A", {2, 4}), zeros("m.lora_B", {4, 3})}), "expected [outputs, 2]"));
  CHECK(contains(refusal({zeros("m.disha", {2, 3, 4})}), "expected [rank, outputs] (bone)"));
  CHECK(contains(refusal({zeros("m.disha", {2, 4}), zeros("n.disha", {3, 4})}), "found bone of rank 3"));
  CHECK(contains(refusal({zeros("m.disha", {2, 4}), zeros("n.disha", {2, 2, 2})}), "found bat of rank 2"));
  CHECK(contains(message_of([] { peft::parse_rwkv_kind("dora"); }),
                 "--kind: expected bone, bat, lora, pissa or state, got dora"));
}

TEST_CASE("rwkv merge: small cases by hand") {
  const TemporaryFolder folder;
  write(folder / "base.pth", {{"m.weight", {2, 3}, {1, 2, 3, 4, 5, 6}}, {"ln.weight", {2}, {1, 1}}});
  const io::TensorFile base(folder / "base.pth");
  write(folder / "bone.pth", {{"m.disha", {2, 2}, {10, 20, 30, 40}}, {"ln.weight", {2}, {7, 8}}});
  peft::merge_rwkv(base, io::TensorFile(folder / "bone.pth"), nullptr, RwkvKind::bone, 16, folder / "out.pth");
  CHECK(floats(io::TensorFile(folder / "out.pth"), "m.weight") == std::vector<float>{11, 32, 13, 24, 45, 26});
  CHECK(floats(io::TensorFile(folder / "out.pth"), "ln.weight") == std::vector<float>{7, 8});
  write(folder / "lora.pth", {{"m.lora_A", {1, 3}, {1, 0, 2}}, {"m.lora_B", {2, 1}, {1, 3}}});
  peft::merge_rwkv(base, io::TensorFile(folder / "lora.pth"), nullptr, RwkvKind::lora, 2, folder / "out.safetensors");
  CHECK(floats(io::TensorFile(folder / "out.safetensors"), "m.weight") == std::vector<float>{3, 2, 7, 10, 5, 18});
}

TEST_CASE("rwkv merge: a weight that trained too takes the base's place before its adapter is added") {
  const TemporaryFolder folder;
  write(folder / "base.pth", {{"m.weight", {1, 2}, {1, 2}}});
  write(folder / "bone.pth", {{"m.disha", {1, 1}, {10}}, {"m.weight", {1, 2}, {5, 6}}});
  peft::merge_rwkv(io::TensorFile(folder / "base.pth"), io::TensorFile(folder / "bone.pth"), nullptr, RwkvKind::bone,
                   16, folder / "out.pth");
  CHECK(floats(io::TensorFile(folder / "out.pth"), "m.weight") == std::vector<float>{15, 16});
}

TEST_CASE("rwkv merge: what does not fit is refused, and nothing written") {
  CHECK(contains(merge_error({zeros("m.disha", {2, 4})}, RwkvKind::bat),
                 "--kind: expected the file's own, bone, got bat"));
  CHECK(contains(merge_error({zeros("m.disha", {2, 2, 2})}, RwkvKind::lora), "expected the file's own, bat, got lora"));
  CHECK(contains(merge_error({zeros("m.disha", {2, 5})}, RwkvKind::bone), "m.disha: expected [2, 4], found [2, 5]"));
  CHECK(contains(merge_error({zeros("n.disha", {2, 4})}, RwkvKind::bone), "no n.weight"));
  CHECK(contains(merge_error({zeros("m.disha", {1, 3, 3})}, RwkvKind::bat), "expected sizes that rank 3 divides"));
  CHECK(contains(merge_error({zeros("wide.disha", {2, 2, 2})}, RwkvKind::bat),
                 "wide.disha: expected a matrix an input block, [3, 2, 2], found [2, 2, 2], one an output block"));
  CHECK(contains(merge_error({zeros("wide.disha", {4, 2, 2})}, RwkvKind::bat), "expected [3, 2, 2], found [4, 2, 2]"));
  CHECK(
      contains(merge_error({zeros("m.disha", {2, 4}), zeros("ln.weight", {5})}, RwkvKind::bone), "of the same shape"));
  const std::vector<Part> lora{zeros("m.lora_A", {2, 4}), zeros("m.lora_B", {4, 2})};
  CHECK(contains(merge_error(lora, RwkvKind::pissa), "--start: expected init_pissa.pth"));
  CHECK(contains(merge_error(lora, RwkvKind::lora, true), "--start: expected init_pissa.pth"));
  CHECK(contains(merge_error(lora, RwkvKind::pissa, true), "no tensor m.init_lora_"));
  CHECK(merge_error(lora, RwkvKind::lora) == "no error");
}

TEST_CASE("rwkv merge: the golden models' merged weights") {
  const auto shared = test::shared();
  if (!shared) {
    MESSAGE("needs the full set of golden cases");
    return;
  }
  const TemporaryFolder folder;
  for (const std::string model : {"rwkv6", "rwkv7"})
    for (const std::string method : {"bone", "bone_ragged", "bat", "lora", "pissa"}) {
      CAPTURE(model);
      CAPTURE(method);
      const fs::path cases = *shared / "golden/rwkv" / model;
      const io::TensorFile base(cases / "model.pth"), adapter(cases / (method + ".adapter.pth"));
      const io::TensorFile start(cases / "init_pissa.pth"), expected(cases / (method + ".safetensors"));
      const RwkvKind kind = peft::parse_rwkv_kind(method == "bone_ragged" ? "bone" : method);
      const double alpha = 2.0 * static_cast<double>(peft::read_rwkv_adapter(adapter).rank);  // the cases' scale is 2
      peft::merge_rwkv(base, adapter, kind == RwkvKind::pissa ? &start : nullptr, kind, alpha, folder / "out.pth");
      const io::TensorFile merged(folder / "out.pth");
      REQUIRE(merged.tensors().size() == base.tensors().size());
      int compared = 0;
      for (const io::TensorEntry& entry : expected.tensors()) {
        if (!entry.name.starts_with("merged."))
          continue;
        const std::vector<float> ours = floats(merged, entry.name.substr(7)), theirs = floats(expected, entry.name);
        REQUIRE(ours.size() == theirs.size());
        float worst = 0;
        for (std::size_t i = 0; i < ours.size(); ++i)
          worst = std::max(worst, std::abs(ours[i] - theirs[i]));
        CHECK(worst <= 1e-6F);
        ++compared;
      }
      CHECK(compared == (model == "rwkv7" ? 6 : 8));
    }
}
