// A child process runs, destroys and builds engines, whatever its parent's threads were doing when it forked.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "check.h"
#include "onebit/engine.h"

using namespace onebit;

namespace {

using Floats = std::vector<float>;

const Floats kImage(32 * 32 * 16, 1.0f);

std::unique_ptr<Engine> network(size_t threads, bool tune = false) {
  Builder b("x", {32, 32, 16}, Floats(16, 0.5f), Floats(16, 0.25f), {threads, "", false, tune});
  const Convolution conv{{3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, 16};
  b.conv2d("c", "x", conv, Floats(16 * 9 * 16, 0.5f), {Step::store("y")});
  return b.finish("y");
}

Floats run(Engine& engine) {
  Floats y(32 * 32 * 16);
  engine.run(kImage.data(), 1, y.data());
  return y;
}

// Whether `work` returns true in a child process within some seconds.
template <class Work>
bool in_child(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(work() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST(children_drop_what_they_inherit) {
  for (const size_t threads : {1, 2, 4}) {
    auto engine = network(threads);
    CHECK(in_child([&] {
      engine.reset();
      return true;
    }));
    run(*engine);
  }
}

TEST(children_run_what_they_inherit) {
  for (const size_t threads : {1, 2, 4}) {
    const auto engine = network(threads);
    const Floats want = run(*engine);
    for (int round = 0; round < 3; ++round) {
      CHECK(in_child([&] { return run(*engine) == want && in_child([&] { return run(*engine) == want; }); }));
      CHECK(run(*engine) == want);
    }
  }
}

TEST(children_build_engines_of_their_own) {
  auto engine = network(2, true);
  const Floats want = run(*engine);
  CHECK(in_child([&] {
    const auto own = network(3, true);
    engine.reset();
    return run(*own) == want;
  }));
}

TEST(children_of_a_process_that_is_running_an_engine) {
  const auto engine = network(2);
  const Floats want = run(*engine);
  std::atomic<bool> stop{false};
  std::thread other([&] {  // does not allocate: sanitizers cannot fork while another thread does
    Floats y(want.size());
    while (!stop) engine->run(kImage.data(), 1, y.data());
  });
  for (int round = 0; round < 20; ++round) {
    CHECK(in_child([&] { return run(*engine) == want && run(*network(2)) == want; }));
  }
  stop = true;
  other.join();
}

TEST(threads_of_a_child_share_one_engine) {
  const auto engine = network(2);
  const Floats want = run(*engine);
  CHECK(in_child([&] {
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) callers.emplace_back([&] { wrong += run(*engine) != want; });
    for (std::thread& caller : callers) caller.join();
    return wrong == 0;
  }));
}

RUN_TESTS()
