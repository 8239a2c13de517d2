// Every job of every round runs once, and no two at a time on the same worker.
#include "base/thread_pool.h"

#include "check.h"

using namespace onebit;

TEST(every_job_runs_once) {
  for (size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (size_t round = 0; round < 300; ++round) {
      const size_t jobs = round % 23;
      std::vector<std::atomic<int>> runs(jobs);
      std::vector<std::atomic<int>> inside(threads);
      std::atomic<int> clashes{0};
      pool.for_each(jobs, [&](size_t job, size_t worker) {
        if (inside[worker]++ != 0) ++clashes;
        ++runs[job];
        --inside[worker];
      });
      CHECK(clashes == 0);
      for (const auto& count : runs) CHECK(count == 1);
    }
  }
}

TEST(ranges_cover_everything_once) {
  ThreadPool pool(3);
  for (size_t count : {0, 1, 2, 11, 12, 13, 1000}) {
    std::vector<std::atomic<int>> seen(count);
    pool.for_ranges(count, [&](size_t begin, size_t end, size_t) {
      for (size_t i = begin; i < end; ++i) ++seen[i];
    });
    for (const auto& times : seen) CHECK(times == 1);
  }
}

TEST(wakes_up_after_a_long_pause) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> runs{0};
    pool.for_each(10, [&](size_t, size_t) { ++runs; });
    CHECK(runs == 10);
  }
}

RUN_TESTS()
