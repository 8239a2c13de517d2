// A fixed number of threads that work on numbered jobs.
//
// A round ends when its jobs are done, whether or not every thread took part, so on a busy machine the caller never
// waits for a thread that is not scheduled. The state of a round is one 64-bit ticket: round, number of jobs, next job.
// A thread takes the next job by compare-and-swap on the ticket. If that succeeds, the round is still running, and its
// function and argument do not change before the job is done.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace onebit {

class ThreadPool {
 public:
  static constexpr size_t kMaxJobs = 0xFFFF;
  static constexpr size_t kMaxThreads = 1024;

  // The calling thread counts as one. Throws std::invalid_argument if the process cannot have so many.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return workers_.size() + 1; }

  // Calls work(job, worker) for every job in [0, jobs), each once, on any worker in [0, threads()); returns when all
  // are done. At most kMaxJobs; `work` must not throw. One caller at a time.
  template <class Work>
  void for_each(size_t jobs, Work&& work) {
    if (workers_.empty() || jobs <= 1) {
      for (size_t job = 0; job < jobs; ++job) work(job, size_t{0});
      return;
    }
    using Plain = std::remove_reference_t<Work>;
    share([](void* w, size_t job, size_t worker) { (*static_cast<Plain*>(w))(job, worker); }, &work, jobs);
  }

  // Splits [0, count) into ranges, a few per thread, and calls work(begin, end, worker) for each.
  template <class Work>
  void for_ranges(size_t count, Work&& work, size_t per_thread = 4) {
    const size_t wanted = workers_.empty() ? 1 : per_thread * threads();
    const size_t jobs = count < wanted ? count : wanted;
    for_each(jobs, [&](size_t job, size_t worker) { work(job * count / jobs, (job + 1) * count / jobs, worker); });
  }

 private:
  using Call = void (*)(void*, size_t job, size_t worker);
  void share(Call call, void* work, size_t jobs);
  void serve(size_t worker);
  void stop();
  void take_jobs(size_t worker);
  bool has_jobs() const;

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<size_t> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> ticket_{0};  // round << 32 | jobs << 16 | next job
  std::atomic<size_t> done_{0};
  Call call_ = nullptr;
  void* work_ = nullptr;
};

// The threads that an op may use: all threads of a pool, or only the calling one.
class Team {
 public:
  Team(ThreadPool& pool) : pool_(&pool) {}
  explicit Team(size_t worker) : worker_(worker) {}

  // As ThreadPool::for_ranges; a single thread gets everything as one range.
  template <class Work>
  void for_ranges(size_t count, Work&& work, size_t per_thread = 4) const {
    if (pool_) return pool_->for_ranges(count, work, per_thread);
    work(size_t{0}, count, worker_);
  }

 private:
  ThreadPool* pool_ = nullptr;
  size_t worker_ = 0;
};

}  // namespace onebit
