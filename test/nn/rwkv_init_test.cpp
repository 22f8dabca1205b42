#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <map>

#include "backends/kernels/decompose.hpp"
#include "backends/kernels/random.hpp"
#include "nn/io/atomic_file.hpp"
#include "nn/io/pretrained.hpp"
#include "nn/io/rwkv_config.hpp"
#include "test/backends/kernel_checks.hpp"
#include "test/nn/io_messages.hpp"
#include "test/nn/temporary_folder.hpp"

using namespace osteon;
using doctest::Approx;
using osteon::test::TemporaryFolder;

namespace {

nn::RwkvConfig small_sizes(std::int64_t layers = 3) {
  nn::RwkvConfig shared;
  shared.vocab_size = 160;
  shared.hidden_size = 64;
  shared.num_hidden_layers = layers;
  shared.heads = 4;
  return shared;
}

/// The parameters of a drawn model as doubles.
template <class Config>
std::map<std::string, std::vector<double>> drawn(const nn::RwkvConfig& shared, std::uint64_t seed = 1,
                                                 DType dtype = DType::f32) {
  const auto model = nn::draw_rwkv(nn::with_usual_sizes<Config>(shared), seed, dtype);
  std::map<std::string, std::vector<double>> values;
  for (const auto& [name, parameter] : model->parameters())
    values[name] = parameter.to_doubles();
  return values;
}

/// The largest distance of x x^T (x^T x where it is tall) from gain^2 times the identity.
double distance_from_orthogonal(const std::vector<double>& x, std::size_t rows, double gain) {
  const std::size_t columns = x.size() / rows, n = std::min(rows, columns), m = std::max(rows, columns);
  const auto at = [&](std::size_t vector, std::size_t i) {
    return rows <= columns ? x[vector * columns + i] : x[i * columns + vector];
  };
  double worst = 0;
  for (std::size_t a = 0; a < n; ++a)
    for (std::size_t b = 0; b < n; ++b) {
      double sum = a == b ? -gain * gain : 0;
      for (std::size_t i = 0; i < m; ++i)
        sum += at(a, i) * at(b, i);
      worst = std::max(worst, std::abs(sum));
    }
  return worst;
}

/// What QR makes of the numbers that parameter `index` of a model of seed 1 is drawn from.
std::vector<double> by_qr(const Tensor& parameter, double gain, std::uint64_t index) {
  const bool as_rows = parameter.dim(0) < parameter.dim(1);
  const auto [n, m] = std::minmax({parameter.dim(0), parameter.dim(1)});
  const Tensor normal = empty({m, n}, DType::f32), q = empty({m, n}, DType::f64), r = empty({n, n}, DType::f64);
  kernels::fill_normal(Cpu{}, normal.mut(), 0, 1, RandomKey{1, 0}.split(index));
  kernels::qr(Cpu{}, converted(normal, DType::f64).view(), q.mut(), r.mut());
  const std::vector<double> factor = q.to_doubles(), triangle = r.to_doubles();
  std::vector<double> values(factor.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto columns = static_cast<std::size_t>(n), row = i / columns, column = i % columns;
    const double sign = triangle[column * columns + column] < 0 ? -1 : 1;
    values[as_rows ? column * static_cast<std::size_t>(m) + row : i] = gain * sign * factor[i];
  }
  return values;
}

bool all_are(const std::vector<double>& x, double value) {
  return std::all_of(x.begin(), x.end(), [&](double one) { return std::abs(one - value) < 1e-6; });
}

bool within(const std::vector<double>& x, double range) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  return *low >= -range && *high <= range && *low<-0.9 * range&& * high> 0.9 * range;
}

}  // namespace

TEST_CASE("RWKV-7 begins with its authors' values") {
  const auto z = drawn<nn::Rwkv7Config>(small_sizes());
  // Channel 10 of layer 1 of 3: i/C = 10/64, depth 1/2, height 2/3, 10 of 16 in its head.
  const auto at = [&](const char* name) { return z.at(std::string("blocks.1.") + name).at(10); };
  const double zigzag = (10 - 7.5) / 7.5 * (10 - 7.5) / 7.5, linear = 10.0 / 63 - 0.5;
  CHECK(at("att.x_r") == Approx(1 - std::pow(10.0 / 64, 0.2 * 2 / 3)));
  CHECK(at("att.x_w") == Approx(1 - std::pow(10.0 / 64, 0.9 * 2 / 3)));
  CHECK(at("att.x_k") == Approx(1 - std::pow(10.0 / 64, 0.7 * 2 / 3)));
  CHECK(at("att.x_g") == at("att.x_r"));
  CHECK(at("att.x_a") == at("att.x_w"));
  CHECK(at("att.x_v") == at("att.x_k"));
  CHECK(at("att.w0") == Approx(-6 + 6 * std::pow(10.0 / 63, 1 + std::pow(0.5, 0.3)) + 0.5 + 2.5 * zigzag));
  CHECK(at("att.a0") == Approx(-0.19 + 0.3 * zigzag + 0.4 * linear));
  CHECK(at("att.v0") == Approx(0.73 - 0.4 * linear));
  CHECK(at("att.k_k") == Approx(0.71 - 0.1 * linear));
  CHECK(at("ffn.x_k") == Approx(1 - std::pow(10.0 / 64, 16.0 / 81)));
  CHECK(all_are(z.at("blocks.1.att.k_a"), 1.02));
  CHECK(all_are(z.at("blocks.1.att.r_k"), -0.04));
  CHECK(all_are(z.at("blocks.1.att.ln_x.weight"), std::pow(2.0 / 3, 0.7)));
  CHECK(z.at("blocks.1.att.w0")[3] < z.at("blocks.1.att.w0")[10]);  // the other half of a head's zigzag
  for (const char* zero : {"att.output.weight", "ffn.value.weight", "att.w1", "att.a1", "att.v1", "att.g1", "ln1.bias"})
    CHECK(all_are(z.at(std::string("blocks.1.") + zero), 0));
  CHECK(all_are(z.at("blocks.0.ln0.weight"), 1));
  CHECK(all_are(z.at("ln_out.weight"), 1));
  CHECK(within(z.at("emb.weight"), 1e-4));
  CHECK(distance_from_orthogonal(z.at("head.weight"), 160, 0.5 * std::sqrt(160.0 / 64)) < 1e-5);
  CHECK(distance_from_orthogonal(z.at("blocks.1.att.receptance.weight"), 64, 1) < 1e-5);
  CHECK(distance_from_orthogonal(z.at("blocks.1.att.key.weight"), 64, 0.1) < 1e-6);
  CHECK(distance_from_orthogonal(z.at("blocks.1.ffn.key.weight"), 256, 1) < 1e-5);
  CHECK(distance_from_orthogonal(z.at("blocks.1.att.g2"), 32, 0.1) < 1e-6);
}

TEST_CASE("RWKV-6 begins with its authors' values") {
  const auto z = drawn<nn::Rwkv6Config>(small_sizes());
  const auto at = [&](const char* name) { return z.at(std::string("blocks.2.") + name).at(11); };
  // Channel 11 of the last layer: depth 1, height 1/3.
  CHECK(at("att.time_maa_x") == Approx(1 - std::pow(11.0 / 64, 1.0 / 3)));
  CHECK(at("att.time_maa_v") == Approx(1 - std::pow(11.0 / 64, 1.0 / 3) - 0.3));
  CHECK(at("att.time_maa_r") == Approx(1 - std::pow(11.0 / 64, 0.5 / 3)));
  CHECK(at("att.time_decay") == Approx(-6 + 5 * std::pow(11.0 / 63, 2.0)));
  CHECK(at("att.time_faaaa") == Approx(1 - 11.0 / 63 - 0.1));
  CHECK(z.at("blocks.2.att.time_faaaa")[12] == Approx(1 - 12.0 / 63));
  CHECK(at("ffn.time_maa_r") == at("att.time_maa_x"));
  for (const char* zero :
       {"att.output.weight", "ffn.value.weight", "ffn.receptance.weight", "att.time_maa_w1", "att.time_decay_w1"})
    CHECK(all_are(z.at(std::string("blocks.2.") + zero), 0));
  CHECK(within(z.at("blocks.2.att.time_maa_w2"), 0.01));
  CHECK(within(z.at("blocks.2.att.time_decay_w2"), 0.01));
  CHECK(distance_from_orthogonal(z.at("blocks.2.att.gate.weight"), 64, 0.1) < 1e-6);
  CHECK(distance_from_orthogonal(z.at("blocks.2.att.value.weight"), 64, 1) < 1e-5);
}

TEST_CASE("a drawn RWKV model is finite with one layer too, and a function of its seed") {
  for (const auto& z : {drawn<nn::Rwkv6Config>(small_sizes(1)), drawn<nn::Rwkv7Config>(small_sizes(1))})
    for (const auto& [name, values] : z)
      CHECK_MESSAGE(std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); }), name);
  const auto one = drawn<nn::Rwkv7Config>(small_sizes(), 1), two = drawn<nn::Rwkv7Config>(small_sizes(), 2);
  CHECK(one == drawn<nn::Rwkv7Config>(small_sizes(), 1));
  for (const char* name : {"emb.weight", "head.weight", "blocks.0.att.key.weight", "blocks.2.att.w2"})
    CHECK(one.at(name) != two.at(name));
  CHECK(one.at("blocks.0.att.value.weight") != one.at("blocks.0.att.receptance.weight"));
  CHECK(distance_from_orthogonal(drawn<nn::Rwkv7Config>(small_sizes(), 1, DType::f64).at("head.weight"), 160,
                                 0.5 * std::sqrt(160.0 / 64)) < 1e-5);
}

TEST_CASE("RWKV's tall and wide matrices are what QR would give, and the same for any number of threads") {
  nn::RwkvConfig shared = small_sizes(1);
  shared.vocab_size = 4096;  // 64 times the channels, and more than a block of a sum over rows
  nn::Rwkv7Config config = nn::with_usual_sizes<nn::Rwkv7Config>(shared);
  config.gate_rank = 4;
  const test::ThreadCount restore(1);
  const auto model = nn::draw_rwkv(config, 1, DType::f32);
  const std::map<std::string, double> gains = {{"head.weight", 0.5 * 8}, {"blocks.0.att.g2", 0.1}};
  std::size_t compared = 0;
  std::uint64_t index = 0;
  for (const auto& [name, parameter] : model->parameters()) {
    const std::uint64_t stream = index++;
    const auto gain = gains.find(name);
    if (gain == gains.end())
      continue;
    CAPTURE(name);
    ++compared;
    const std::vector<double> values = parameter.to_doubles(), expected = by_qr(parameter, gain->second, stream);
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      worst = std::max(worst, std::abs(values[i] - expected[i]));
    CHECK(worst <= 1e-6 * gain->second);
    CHECK(distance_from_orthogonal(values, static_cast<std::size_t>(parameter.dim(0)), gain->second) <=
          2e-6 * gain->second * gain->second);
  }
  CHECK(compared == gains.size());
  for (const int threads : {2, 3}) {
    omp_set_num_threads(threads);
    const auto other = nn::draw_rwkv(config, 1, DType::f32);
    for (std::size_t i = 0; i < index; ++i)
      CHECK(other->parameters()[i].second.to_doubles() == model->parameters()[i].second.to_doubles());
  }
}

TEST_CASE("RWKV's config.json: sizes, the authors' for what is not given, and back") {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& text) {
    io::write_file_atomically(folder / "config.json", text);
    return nn::read_rwkv_config_json(folder / "");
  };
  const std::string shared = R"("vocab_size": 65536, "num_hidden_layers": 2, "hidden_size": )";
  const auto seven = std::get<nn::Rwkv7Config>(read(R"({"model_type": "rwkv7", )" + shared + "1024}"));
  CHECK(seven.heads == 16);
  CHECK(seven.intermediate_size == 4096);
  CHECK(seven.decay_rank == 64);  // as in the published model of this width
  CHECK(seven.rate_rank == 64);
  CHECK(seven.value_rank == 32);
  CHECK(seven.gate_rank == 160);
  const auto six = std::get<nn::Rwkv6Config>(read(R"({"model_type": "rwkv6", )" + shared + "2048}"));
  CHECK(six.intermediate_size == 7168);
  CHECK(six.mix_rank == 32);
  CHECK(six.decay_rank == 64);
  CHECK(std::get<nn::Rwkv6Config>(read(R"({"model_type": "rwkv6", )" + shared + "4096}")).mix_rank == 64);

  for (const std::string given :
       {R"("rwkv7", "vocab_size": 30, "hidden_size": 12, "num_hidden_layers": 2, "head_dim": 6, "intermediate_size": 20,
           "decay_low_rank_dim": 3, "a_low_rank_dim": 4, "v_low_rank_dim": 5, "gate_low_rank_dim": 7)",
        R"("rwkv6", "vocab_size": 30, "hidden_size": 12, "num_hidden_layers": 2, "head_dim": 4, "intermediate_size": 20,
           "mix_low_rank_dim": 3, "decay_low_rank_dim": 5)"}) {
    CAPTURE(given);
    const auto model = nn::draw_rwkv(read("{\"model_type\": " + given + "}"), 1, DType::f32);
    nn::save_rwkv_folder(*model, folder / "saved");
    CHECK(nn::is_rwkv_folder(folder / "saved"));
    const auto again = nn::make_rwkv(nn::read_rwkv_config_json(folder / "saved"), DType::f32);
    const auto loaded = nn::load_rwkv(folder / "saved", DType::f32);
    const NamedTensors first = model->parameters(), shapes = again->parameters(), second = loaded->parameters();
    REQUIRE(first.size() == shapes.size());
    for (std::size_t i = 0; i < first.size(); ++i) {
      CHECK(first[i].second.shape() == shapes[i].second.shape());
      CHECK(first[i].second.to_doubles() == second[i].second.to_doubles());
    }
  }
}

TEST_CASE("RWKV's config.json: what is wrong is named, and what is unknown warned of") {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& text) {
    io::write_file_atomically(folder / "config.json", text);
    return test::message_of([&] { nn::read_rwkv_config_json(folder / ""); });
  };
  const std::string sizes = R"("vocab_size": 96, "num_hidden_layers": 2, "hidden_size": 64)";
  using test::contains;
  CHECK(contains(refusal(R"({"model_type": "rwkv5", )" + sizes + "}"),
                 "config.json: model_type: expected rwkv6 or rwkv7, found \"rwkv5\""));
  CHECK(contains(refusal(R"({"model_type": "rwkv7", "vocab_size": 96, "hidden_size": 64})"),
                 "config.json: num_hidden_layers: expected a whole number, 1 to 10000, found none"));
  CHECK(contains(refusal(R"({"model_type": "rwkv7", )" + sizes + R"(, "head_dim": 48})"),
                 "config.json: hidden_size: expected a multiple of head_dim = 48, found 64"));
  CHECK(contains(refusal(R"({"model_type": "rwkv6", )" + sizes + R"(, "mix_low_rank_dim": 0})"),
                 "config.json: mix_low_rank_dim: expected a whole number, 1 to 268435456, found 0"));
  CHECK(contains(test::message_of([&] { nn::read_rwkv_config_json(folder / "gone"); }),
                 "gone: expected config.json with the sizes of an RWKV model, found none"));
  std::vector<std::string> warnings;
  io::write_file_atomically(folder / "config.json",
                            R"({"model_type": "rwkv7", "torch_dtype": "bfloat16", "head_size": 32, )" + sizes + "}");
  nn::read_rwkv_config_json(folder / "", &warnings);
  REQUIRE(warnings.size() == 1);
  CHECK(contains(warnings[0], "config.json: unknown key head_size is ignored"));
}
