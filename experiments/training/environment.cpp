#include "experiments/training/environment.hpp"

#include <ctime>
#include <fstream>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "experiments/config/json_fields.hpp"
#include "experiments/version.hpp"
#include "nn/io/atomic_file.hpp"

namespace osteon::experiments {

template <class Fields>
void describe(Fields& field, Environment& environment) {
  field("host", environment.host);
  field("cpu", environment.cpu);
  field("cores", environment.cores);
  field("threads", environment.threads);
  field("ranks", environment.ranks);
  field("memory_bytes", environment.memory_bytes);
  field("isa", environment.isa);
  field("compiler", environment.compiler);
  field("build", environment.build);
  field("commit", environment.commit);
  field("version", environment.version);
  field("gemm", environment.gemm);
  field("gemm_implementations", environment.gemm_implementations);
  field("gpu", environment.gpu);
  field("deterministic", environment.deterministic);
  field("os", environment.os);
  field("date", environment.date);
}

namespace {

/// The value of the first line "key : value" or "key=value" of a system file; empty when there is none.
std::string first_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, key.size(), key) == 0) {
      const std::size_t start = line.find_first_not_of("\t :=\"", key.size());
      const std::size_t end = line.find_last_not_of(" \"");
      return start == std::string::npos || end < start ? "" : line.substr(start, end + 1 - start);
    }
  return "";
}

std::string vector_extension() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16"))
    return "avx512_bf16";
  if (__builtin_cpu_supports("avx512f"))
    return "avx512";
  if (__builtin_cpu_supports("avx2"))
    return "avx2";
  return "sse2";
#elif defined(__aarch64__)
  return "neon";
#else
  return "";
#endif
}

std::int64_t usable_processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    return CPU_COUNT(&set);
  return sysconf(_SC_NPROCESSORS_ONLN);
}

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return std::string(text, length);
}

}  // namespace

Environment capture_environment(const RunSettings& settings) {
  Environment environment;
  environment.cpu = first_value("/proc/cpuinfo", "model name");
  environment.cores = usable_processors();
  environment.threads = settings.threads;
  environment.ranks = settings.ranks;
  environment.memory_bytes = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  environment.isa = vector_extension();
  environment.compiler = kCompiler;
  environment.build = kBuild;
  environment.commit = kCommit;
  environment.version = kVersion;
  environment.gemm = settings.gemm.empty() ? kGemm : settings.gemm;
  environment.gemm_implementations = settings.gemm_implementations;
  environment.gpu = settings.gpu;
  environment.deterministic = settings.deterministic;
  utsname system{};
  if (uname(&system) == 0) {
    environment.host = system.nodename;
    environment.os = std::string(system.sysname) + " " + system.release;
  }
  if (const std::string distribution = first_value("/etc/os-release", "PRETTY_NAME"); !distribution.empty())
    environment.os = distribution + (environment.os.empty() ? "" : ", " + environment.os);
  environment.date = now_utc();
  return environment;
}

std::string to_json(const Environment& environment) { return JsonWriter::write(environment).dump(2) + "\n"; }

Environment environment_from_json(std::string_view text, const std::string& source) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  check<FileError>(!json.is_discarded(), source, ": expected JSON, got \"", std::string(text.substr(0, 60)), "\"");
  Environment environment;
  JsonReader reader(json, source);
  describe(reader, environment);
  return environment;
}

void write_environment(const std::filesystem::path& folder, const Environment& environment) {
  io::write_file_atomically(folder / "environment.json", to_json(environment));
}

Environment read_environment(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "environment.json";
  return environment_from_json(io::read_file(path), path.string());
}

}  // namespace osteon::experiments
