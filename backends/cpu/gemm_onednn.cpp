#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <mutex>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>
#include <tuple>

#include "backends/cpu/gemm_engines.hpp"
#include "backends/cpu/scratch.hpp"
#include "backends/error.hpp"

namespace osteon::kernels {
namespace {

using dnnl::memory;

// Fewer multiply-adds run on the calling thread: waking the others takes about 5 us.
constexpr std::int64_t kSerialWork = 1 << 18;

/// Makes oneDNN see the given number of threads: it asks OpenMP when it compiles and when it executes.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads) : before_(omp_get_max_threads()) {
    if (threads != before_)
      omp_set_num_threads(threads);
  }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;
  ~ThreadLimit() {
    if (omp_get_max_threads() != before_)
      omp_set_num_threads(before_);
  }

 private:
  int before_;
};

/// What a primitive is compiled for. The number of threads is part of it: oneDNN fixes its blocking at creation.
using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, bool, bool, bool, double, DType, DType, int>;

/// A compiled product with its argument list; only the pointers change between calls.
struct Compiled {
  bool usable = false, stable = false, recorded = false;
  std::string implementation;
  std::int64_t scratch_bytes = 0;
  dnnl::matmul primitive;
  memory a, b, c, scratch;
  std::unordered_map<int, memory> arguments;
};

/// One cache per thread that calls products: no lock, and no two calls share a primitive's arguments.
struct Cache {
  // Beyond this the shapes do not repeat (varying lengths, say), and compiled kernels would pile up.
  static constexpr std::size_t kMaxEntries = 1024;

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<Key, Compiled> compiled;
  Scratch scratch;
};

/// Known to give the same bits for any number of threads and rows, but for long sums with a transposed first operand,
/// which the front cuts. Measured; test/backends/gemm_test.cpp holds the shapes. AMX is not known.
bool known_stable(std::string_view implementation) {
  return implementation.starts_with("brg:avx512") && implementation.find("amx") == std::string_view::npos;
}

/// Keeps a machine with AMX at AVX-512 if the first product has to be stable. oneDNN takes this once, before all else.
dnnl::cpu_isa instruction_set(bool stable_only) {
  static const dnnl::cpu_isa chosen = [&] {
    if (stable_only && std::getenv("DNNL_MAX_CPU_ISA") == nullptr)
      dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16);
    return dnnl::get_effective_cpu_isa();
  }();
  return chosen;
}

std::mutex implementations_mutex;
std::vector<std::string> implementations;

void record_implementation(const std::string& name) {
  const std::lock_guard lock(implementations_mutex);
  if (std::find(implementations.begin(), implementations.end(), name) == implementations.end())
    implementations.push_back(name);
}

memory::data_type onednn_type(DType dtype) {
  return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

/// Strides of a dense matrix [rows, cols] that may be stored transposed.
memory::dims strides(std::int64_t rows, std::int64_t cols, bool transposed) {
  return transposed ? memory::dims{1, rows} : memory::dims{cols, 1};
}

Compiled compile(const Product& p, const dnnl::engine& engine) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (p.alpha != 1.0)
    attributes.set_output_scales(0, {static_cast<float>(p.alpha)});
  if (p.add) {
    dnnl::post_ops sum;
    sum.append_sum(1.0F);
    attributes.set_post_ops(sum);
  }
  const memory::desc a({p.m, p.k}, onednn_type(p.operands), strides(p.m, p.k, p.transpose_a));
  const memory::desc b({p.k, p.n}, onednn_type(p.operands), strides(p.k, p.n, p.transpose_b));
  const memory::desc c({p.m, p.n}, onednn_type(p.result), memory::dims{p.n, 1});
  const dnnl::matmul::primitive_desc description({a, b, c}, attributes, engine, true);
  Compiled out;
  if (!description)  // no implementation of these dtypes on this processor
    return out;
  const std::string name = description.impl_info_str();
  out.usable = !name.starts_with("ref");  // plain loops: our tiles are faster
  out.stable = known_stable(name);
  if (!out.usable)
    return out;
  out.implementation = name;
  out.primitive = dnnl::matmul(description);
  out.a = memory(a, engine, nullptr);
  out.b = memory(b, engine, nullptr);
  out.c = memory(c, engine, nullptr);
  const memory::desc scratch = description.scratchpad_desc();
  out.scratch_bytes = static_cast<std::int64_t>(scratch.get_size());
  out.scratch = memory(scratch, engine, nullptr);
  out.arguments = {
      {DNNL_ARG_SRC, out.a}, {DNNL_ARG_WEIGHTS, out.b}, {DNNL_ARG_DST, out.c}, {DNNL_ARG_SCRATCHPAD, out.scratch}};
  return out;
}

}  // namespace

bool gemm_onednn(const Product& p, bool stable_only) {
  if (p.operands == DType::f64)
    return false;
  instruction_set(stable_only);
  thread_local Cache cache;
  const bool serial = omp_in_parallel() != 0 || p.m * p.n * p.k < kSerialWork;
  const int threads = serial ? 1 : omp_get_max_threads();
  const ThreadLimit limit(threads);
  const Key key{p.m, p.n, p.k, p.transpose_a, p.transpose_b, p.add, p.alpha, p.operands, p.result, threads};
  auto found = cache.compiled.find(key);
  if (found == cache.compiled.end()) {
    if (cache.compiled.size() >= Cache::kMaxEntries)
      cache.compiled.clear();
    found = cache.compiled.emplace(key, compile(p, cache.engine)).first;
  }
  Compiled& product = found->second;
  if (!product.usable || (stable_only && !product.stable))
    return false;
  if (!product.recorded)
    record_implementation(product.implementation);
  product.recorded = true;
  // oneDNN's handles are not const, but it only reads the operands.
  product.a.set_data_handle(const_cast<void*>(p.a));
  product.b.set_data_handle(const_cast<void*>(p.b));
  product.c.set_data_handle(p.c);
  product.scratch.set_data_handle(cache.scratch.get(product.scratch_bytes));
  product.primitive.execute(cache.stream, product.arguments);
  return true;
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return join("oneDNN ", version->major, '.', version->minor, '.', version->patch);
}

const char* onednn_instruction_set(bool stable_only) {
  switch (instruction_set(stable_only)) {
    case dnnl::cpu_isa::avx512_core_amx:
      return "AVX-512 AMX";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "AVX-512 BF16";
    case dnnl::cpu_isa::avx512_core_vnni:
    case dnnl::cpu_isa::avx512_core:
      return "AVX-512";
    case dnnl::cpu_isa::avx2_vnni:
    case dnnl::cpu_isa::avx2:
      return "AVX2";
    default:
      return "before AVX2";
  }
}

std::vector<std::string> onednn_implementations() {
  const std::lock_guard lock(implementations_mutex);
  return implementations;
}

bool onednn_stable(DType dtype) {
  const dnnl::cpu_isa isa = instruction_set(true);
  return isa == dnnl::cpu_isa::avx512_core_bf16 ||
         (dtype != DType::bf16 && (isa == dnnl::cpu_isa::avx512_core || isa == dnnl::cpu_isa::avx512_core_vnni));
}

bool onednn_was_stable() {
  const std::vector<std::string> used = onednn_implementations();
  return onednn_stable(DType::f32) && std::all_of(used.begin(), used.end(), known_stable);
}

}  // namespace osteon::kernels
