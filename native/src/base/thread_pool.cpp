// A fixed number of threads that work on numbered jobs.
#include "base/thread_pool.h"

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

namespace onebit {
namespace {

// The next node follows within microseconds, so an idle thread spins this long before it sleeps.
constexpr auto kPatience = std::chrono::microseconds(50);

template <class Condition>
bool spin_until(Condition holds) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  do {
    for (int i = 0; i < 64; ++i) {
      if (holds()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(size_t threads) {
  workers_.reserve(threads - 1);
  try {
    for (size_t worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { serve(worker); });
  } catch (const std::system_error&) {
    const std::string started = std::to_string(this->threads());
    stop();  // or the workers would outlive what they wait for
    throw std::invalid_argument("threads: " + std::to_string(threads) + " are more than the " + started +
                                " that this process may have");
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

bool ThreadPool::has_jobs() const {
  const uint64_t ticket = ticket_;
  return (ticket & kMaxJobs) < (ticket >> 16 & kMaxJobs);
}

void ThreadPool::share(Call call, void* work, size_t jobs) {
  call_ = call;
  work_ = work;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t round = (ticket_ >> 32) + 1;
  ticket_ = round << 32 | static_cast<uint64_t>(jobs) << 16;
  // Ticket and count are sequentially consistent: either this thread sees the sleeper, or the sleeper sees the jobs.
  if (sleeping_ > 0) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }
    wake_.notify_all();
  }
  take_jobs(0);
  const auto all_done = [&] { return done_.load(std::memory_order_acquire) == jobs; };
  while (!spin_until(all_done)) std::this_thread::yield();
}

void ThreadPool::take_jobs(size_t worker) {
  for (uint64_t ticket = ticket_; (ticket & kMaxJobs) < (ticket >> 16 & kMaxJobs);) {
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;  // `ticket` is now the current one
    call_(work_, ticket & kMaxJobs, worker);
    done_.fetch_add(1, std::memory_order_release);
    ticket = ticket_;
  }
}

void ThreadPool::serve(size_t worker) {
  const auto wanted = [this] { return stop_ || has_jobs(); };
  while (!stop_) {
    if (!spin_until(wanted)) {
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, wanted);
      --sleeping_;
    }
    take_jobs(worker);
  }
}

}  // namespace onebit
