# Builds the tests and benchmarks for a GPU by make alone, for machines that have little more than g++ and nvcc.
# tools/run_on_gpu.sh calls it from the root of the tree and gives NVCC, ARCH, BUILD, CPPFLAGS, and BENCHMARK, the library
# file of Google Benchmark, for the benchmarks.

# By folder, so that a new file needs no line here. Without oneDNN, products on the CPU go by own tiles.
backends := $(filter-out backends/cpu/gemm_onednn.cpp,$(wildcard backends/*.cpp backends/cpu/*.cpp))
device := $(wildcard backends/cuda/*.cpp backends/cuda/*.cu)
autograd := $(wildcard autograd/*.cpp autograd/ops/*.cpp)
models := $(wildcard nn/*.cpp nn/optim/*.cpp nn/io/*.cpp peft/*.cpp)
bench := $(filter-out bench/bench_%,$(wildcard bench/*.cpp))

# The tests that hold on a GPU: of the kernels that have a file for it, and what meson.build lists for the layers above.
listed = $(addprefix test/$(1)/,$(shell sed -n "/test_$(1)_device_sources = files/,/^.$$/s/^  '\(.*\)',/\1/p" test/$(1)/meson.build))
kernel_tests := $(wildcard $(patsubst backends/cuda/%,test/backends/%_test.cpp,$(basename $(device))))
op_page := $(BUILD)/adding-an-op.cpp
op_tests := $(call listed,autograd) $(wildcard test/op_cases.cpp test/op_cases/*.cpp) $(op_page)
adapter_tests := $(call listed,peft)

object = $(patsubst %,$(BUILD)/%.o,$(1))
libraries := $(if $(shell grep -l '<cublas' $(device)),-lcublas -lcublasLt) -ldl

CXXFLAGS = -std=c++20 -O2 -march=native -fopenmp -fno-math-errno -fno-trapping-math -MMD -I. -DOSTEON_CUDA $(CPPFLAGS)
NVCCFLAGS = -std=c++20 -O3 -arch=$(ARCH) -lineinfo --expt-relaxed-constexpr -DOSTEON_CUDA -MMD -I.
# AdamW rounds after each operation, on either device.
$(call object,backends/cpu/adamw.cpp): CXXFLAGS += -ffp-contract=off
$(call object,backends/cuda/adamw.cu): NVCCFLAGS += --fmad=false
# Eigen's decompositions take minutes at more than this; of tests the time to compile counts.
$(call object,backends/cpu/decompose.cpp $(op_tests) $(adapter_tests)): CXXFLAGS += -O1
$(call object,$(kernel_tests)): CXXFLAGS += -O1 -DOSTEON_TEST_CUDA

link = $(NVCC) -Xcompiler -fopenmp -o $@ $(filter %.o %.a,$^) $(libraries)

$(BUILD)/test_cuda: $(call object,test/cuda_main.cpp $(kernel_tests)) $(BUILD)/backends.a
	$(link)
$(BUILD)/test_autograd: $(call object,test/cuda_main.cpp $(op_tests) $(autograd)) $(BUILD)/backends.a
	$(link)
$(BUILD)/test_peft: $(call object,test/cuda_main.cpp $(adapter_tests)) $(BUILD)/models.a $(BUILD)/backends.a
	$(link)
$(BUILD)/bench_%: $(call object,bench/bench_%.cpp) $(BUILD)/models.a $(BUILD)/backends.a
	$(link) -Xlinker $(abspath $(BENCHMARK)) -Xlinker -rpath=$(abspath $(dir $(BENCHMARK)))

$(BUILD)/backends.a: $(call object,$(backends) $(device))
$(BUILD)/models.a: $(call object,$(bench) $(models) $(autograd))
$(BUILD)/%.a:
	rm -f $@ && ar cq $@ $^

$(op_page): test/docs/extract.py docs/adding-an-op.md
	python3 $^ $@

$(BUILD)/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c $< -o $@
$(call object,$(device)): $(BUILD)/%.o: %
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -c $< -o $@

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
