// Selection of kernels by measurement.
#include "engine/tuning.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <mutex>

namespace onebit {
namespace {

std::mutex mutex;  // guards `chosen`, since engines may be built in parallel

// A child process must not inherit a locked mutex.
[[maybe_unused]] const int registered =
    pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

std::map<std::string, std::string>& chosen() {
  static std::map<std::string, std::string> kernels;
  return kernels;
}

// The least time of several runs, in ns: long enough to warm up, short enough to tune a network in a second.
int64_t least_ns(const Op& op, const TuningProblem& problem) {
  constexpr auto kBudget = std::chrono::milliseconds(3);
  constexpr int kFewest = 3;
  ThreadPool pool(1);
  const AlignedBytes input(problem.input_bytes), result(problem.result_bytes), scratch(op.scratch_bytes()),
      own(op.worker_scratch_bytes());
  uint8_t *const values[] = {input.data(), result.data()}, *const worker[] = {own.data()};
  const RunContext context{values, {}, scratch.data(), worker, pool};
  int64_t least = std::numeric_limits<int64_t>::max();
  const auto deadline = std::chrono::steady_clock::now() + kBudget;
  for (int i = 0; i < kFewest || std::chrono::steady_clock::now() < deadline; ++i) {
    const auto start = std::chrono::steady_clock::now();
    op.run(context);
    const auto took = std::chrono::steady_clock::now() - start;
    least = std::min<int64_t>(least, std::chrono::duration_cast<std::chrono::nanoseconds>(took).count());
  }
  return least;
}

}  // namespace

size_t fastest(const TuningProblem& problem, const std::vector<std::string>& names,
               const std::function<std::unique_ptr<Op>(size_t candidate, Store& store)>& make, Poll& poll) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto known = chosen().find(problem.key);
    if (known != chosen().end()) {
      const auto found = std::find(names.begin(), names.end(), known->second);
      if (found != names.end()) return static_cast<size_t>(found - names.begin());
    }
  }
  size_t best = 0;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < names.size(); ++i) {
    Store store(problem.max_memory);
    const std::unique_ptr<Op> op = make(i, store);
    store.fill(poll);
    const int64_t ns = least_ns(*op, problem);
    if (ns < least) {
      least = ns;
      best = i;
    }
  }
  set_tuned_kernels({{problem.key, names[best]}});
  return best;
}

std::map<std::string, std::string> tuned_kernels() {
  const std::lock_guard<std::mutex> lock(mutex);
  return chosen();
}

void set_tuned_kernels(const std::map<std::string, std::string>& kernels) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (const auto& [layer, kernel] : kernels) chosen()[layer] = kernel;
}

}  // namespace onebit
