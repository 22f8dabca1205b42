# Builds the kernel tests for a GPU by make alone, for machines that have little more than g++, nvcc and Eigen.
# tools/run_on_gpu.sh calls it from the root of the tree and gives NVCC, ARCH, BUILD and CPPFLAGS.

# By folder, so that a new file needs no line here. Without oneDNN, products on the CPU go by own tiles.
host := $(filter-out backends/cpu/gemm_onednn.cpp,$(wildcard backends/*.cpp backends/cpu/*.cpp))
device := $(wildcard backends/cuda/*.cpp backends/cuda/*.cu)
# The tests of the families that have a file for the device.
tests := $(wildcard $(patsubst backends/cuda/%,test/backends/%_test.cpp,$(basename $(device)))) test/cuda_main.cpp

object = $(patsubst %,$(BUILD)/%.o,$(1))
libraries := $(if $(shell grep -l '<cublas' $(device)),-lcublas -lcublasLt)

CXXFLAGS = -std=c++20 -O2 -march=native -fopenmp -fno-math-errno -fno-trapping-math -MMD -I. $(CPPFLAGS)
NVCCFLAGS = -std=c++20 -O3 -arch=$(ARCH) -lineinfo --expt-relaxed-constexpr -DOSTEON_CUDA -MMD -I.
# AdamW rounds after each operation, on either device.
$(call object,backends/cpu/adamw.cpp): CXXFLAGS += -ffp-contract=off
$(call object,backends/cuda/adamw.cu): NVCCFLAGS += --fmad=false

# Eigen's decompositions take minutes at more than this.
$(call object,backends/cpu/decompose.cpp): CXXFLAGS += -O1

$(BUILD)/test_cuda: $(call object,$(host) $(device) $(tests))
	$(NVCC) -Xcompiler -fopenmp -o $@ $^ $(libraries) -ldl

$(call object,$(host)): $(BUILD)/%.o: %
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c $< -o $@
$(call object,$(tests)): $(BUILD)/%.o: %
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -DOSTEON_CUDA -DOSTEON_TEST_CUDA -c $< -o $@
$(call object,$(device)): $(BUILD)/%.o: %
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -c $< -o $@

-include $(patsubst %.o,%.d,$(call object,$(host) $(device) $(tests)))
