// A fixed team of threads that share out numbered jobs.
#include "engine/thread_pool.h"

#include <chrono>

namespace onebit {
namespace {

// Nodes follow each other within microseconds, so a thread that waits looks for work this long before it sleeps.
constexpr auto kPatience = std::chrono::microseconds(50);

template <class Condition>
bool spin_until(Condition holds) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int i = 0; i < 64; ++i) {
      if (holds()) return true;
#if defined(__x86_64__) && defined(__GNUC__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  for (size_t worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { serve(worker); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    ++round_;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::share(Call call, void* work, size_t jobs) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call_ = call;
    work_ = work;
    jobs_ = jobs;
    next_ = 0;
    busy_ = workers_.size();
    ++round_;
  }
  wake_.notify_all();
  take_jobs(0);
  // Every worker must have left the round before the next one may change its description.
  while (!spin_until([this] { return busy_.load(std::memory_order_acquire) == 0; })) std::this_thread::yield();
}

void ThreadPool::take_jobs(size_t worker) {
  for (size_t job = next_++; job < jobs_; job = next_++) call_(work_, job, worker);
}

void ThreadPool::serve(size_t worker) {
  for (uint64_t seen = 0;;) {
    const auto new_round = [&] { return round_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(new_round)) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, new_round);
    }
    if (stop_) return;
    ++seen;
    take_jobs(worker);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace onebit
