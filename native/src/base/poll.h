// A callback that can interrupt long work.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

namespace onebit {

// Called often during long work, it calls `ask` at most ten times a second. `ask` interrupts the work by an exception.
class Poll {
 public:
  using Clock = std::chrono::steady_clock;

  Poll() = default;
  explicit Poll(std::function<void()> ask) : ask_(std::move(ask)), last_(Clock::now()) {}

  void operator()() {
    if (ask_) at(Clock::now());
  }
  // Whether it called `ask`.
  bool at(Clock::time_point now) {
    if (!ask_ || now - last_ < std::chrono::milliseconds(100)) return false;
    last_ = now;
    ask_();
    return true;
  }

 private:
  std::function<void()> ask_;
  Clock::time_point last_;
};

}  // namespace onebit
