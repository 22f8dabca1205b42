#include "backends/cuda/emulation/fiber.hpp"

#include <array>
#include <cstdint>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include "backends/error.hpp"

namespace osteon::cuda::emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = 256 << 10;
#else
constexpr std::size_t kStackBytes = 64 << 10;
#endif

constexpr std::size_t kLineBytes = 64;

/// What the sanitizer is told of a stack that is left and of the one that comes next.
struct SanitizerView {
  void* fake = nullptr;
  const void* bottom = nullptr;
  std::size_t bytes = 0;

  void leave([[maybe_unused]] const SanitizerView& next) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake, next.bottom, next.bytes);
#endif
  }
  void arrive([[maybe_unused]] SanitizerView* from) {
#if defined(__SANITIZE_ADDRESS__)
    SanitizerView left;
    __sanitizer_finish_switch_fiber(fake, &left.bottom, &left.bytes);
    if (from != nullptr) {
      from->bottom = left.bottom;
      from->bytes = left.bytes;
    }
#endif
  }
};

}  // namespace

#if defined(__x86_64__)

// Saves what a function must keep on the stack, stores where that is, and goes on with what is kept elsewhere.
extern "C" void osteon_switch_stack(void** save, void* load);
asm(R"(
.text
.globl osteon_switch_stack
.hidden osteon_switch_stack
.type osteon_switch_stack, @function
osteon_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
.size osteon_switch_stack, .-osteon_switch_stack
.section .note.GNU-stack, "", @progbits
.text
)");

namespace {

struct Context {
  void* top = nullptr;

  void prepare(std::byte* end, Fiber::Function entry) {
    constexpr std::size_t kSavedRegisters = 6;
    auto** const place = reinterpret_cast<void**>(end);
    place[-1] = nullptr;  // where a function's return address would be: it never returns
    place[-2] = reinterpret_cast<void*>(entry);
    for (std::size_t i = 0; i < kSavedRegisters; ++i)
      place[-3 - static_cast<std::ptrdiff_t>(i)] = nullptr;
    top = place - 2 - kSavedRegisters;
  }
  void switch_to(Context& next) { osteon_switch_stack(&top, next.top); }
};

}  // namespace

#else

namespace {

struct Context {
  ucontext_t context{};

  void prepare(std::byte* end, Fiber::Function entry) {
    getcontext(&context);
    context.uc_stack.ss_sp = end - kStackBytes;
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
  void switch_to(Context& next) { swapcontext(&context, &next.context); }
};

}  // namespace

#endif

struct Fiber::Stack {
  std::byte* memory = nullptr;
  std::size_t mapped = 0;
  std::size_t unused = 0;  ///< bytes behind its beginning
  Context context;
  SanitizerView view;
  Function function = nullptr;
  bool entered = false;

  static void enter();
};

namespace {

// Of the thread that resumes: fibers do not move between threads.
thread_local Context resumer;
thread_local SanitizerView resumer_view;
thread_local SanitizerView* came_from = nullptr;  // &resumer_view, or null where another fiber passed on
thread_local Fiber* running = nullptr;

}  // namespace

Fiber::Fiber() : stack_(std::make_unique<Stack>()) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  stack_->mapped = kStackBytes + page;
  // Stacks that began at the same place of a page would have the same few lines of the cache, all of them.
  static std::size_t made = 0;
  stack_->unused = made++ * kLineBytes % page;
  void* const memory =
      mmap(nullptr, stack_->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check<Error>(memory != MAP_FAILED, "CUDA emulation: no memory for the stack of another thread");
  stack_->memory = static_cast<std::byte*>(memory);
  mprotect(memory, page, PROT_NONE);  // a kernel whose locals do not fit ends here, not in another thread's stack
  stack_->view.bottom = stack_->memory + page;
  stack_->view.bytes = kStackBytes;
}

Fiber::~Fiber() { munmap(stack_->memory, stack_->mapped); }

void Fiber::Stack::enter() {
  running->stack_->view.arrive(came_from);
  for (;;) {
    running->stack_->function();
    suspend();
  }
}

void Fiber::start(Function function) {
  if (!stack_->entered)  // later it waits in the loop of enter()
    stack_->context.prepare(stack_->memory + stack_->mapped - stack_->unused, &Stack::enter);
  stack_->entered = true;
  stack_->function = function;
}

void Fiber::resume() {
  running = this;
  came_from = &resumer_view;
  resumer_view.leave(stack_->view);
  resumer.switch_to(stack_->context);
  resumer_view.arrive(nullptr);
}

void Fiber::suspend() {
  Stack& stack = *running->stack_;
  stack.view.leave(resumer_view);
  stack.context.switch_to(resumer);
  stack.view.arrive(came_from);
}

void Fiber::pass_to(Fiber& next) {
  Stack& stack = *running->stack_;
  running = &next;
  came_from = nullptr;
  stack.view.leave(next.stack_->view);
  stack.context.switch_to(next.stack_->context);
  stack.view.arrive(came_from);
}

}  // namespace osteon::cuda::emulation
