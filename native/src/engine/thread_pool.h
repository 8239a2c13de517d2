// A fixed team of threads that share out numbered jobs.
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
  explicit ThreadPool(size_t threads);  // the caller's own thread is one of them
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const { return workers_.size() + 1; }

  // Calls work(job, worker) for every job in [0, jobs), each once, on any worker in [0, threads()); returns when all
  // are done. `work` must not throw.
  template <class Work>
  void for_each(size_t jobs, Work&& work) {
    if (workers_.empty() || jobs <= 1) {
      for (size_t job = 0; job < jobs; ++job) work(job, size_t{0});
      return;
    }
    using Plain = std::remove_reference_t<Work>;
    share([](void* w, size_t job, size_t worker) { (*static_cast<Plain*>(w))(job, worker); }, &work, jobs);
  }

  // Cuts [0, count) into ranges, a few for each thread, and calls work(begin, end, worker) for each.
  template <class Work>
  void for_ranges(size_t count, Work&& work) {
    const size_t wanted = workers_.empty() ? 1 : 4 * threads();
    const size_t jobs = count < wanted ? count : wanted;
    for_each(jobs, [&](size_t job, size_t worker) { work(job * count / jobs, (job + 1) * count / jobs, worker); });
  }

 private:
  using Call = void (*)(void*, size_t job, size_t worker);
  void share(Call call, void* work, size_t jobs);
  void serve(size_t worker);
  void take_jobs(size_t worker);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};  // grows by one with every share()
  std::atomic<size_t> next_{0}, busy_{0};
  std::atomic<bool> stop_{false};
  Call call_ = nullptr;
  void* work_ = nullptr;
  size_t jobs_ = 0;
};

}  // namespace onebit
