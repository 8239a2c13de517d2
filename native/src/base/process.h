// What survives a fork, and what does not.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace onebit {

// How many forks lie between the process that loaded this library and the calling one: a child's number differs from
// its parent's.
uint64_t forks();

// An object that a child process cannot inherit, such as threads and locks: fork copies the memory, but no thread, and
// a lock that another thread held stays locked forever. Every process makes its own object the first time it asks.
// The parent's object is leaked in the child, since nothing in it can be waited for.
template <class T>
class PerProcess {
 public:
  explicit PerProcess(std::function<std::unique_ptr<T>()> make) : make_(std::move(make)), current_(make_one()) {}
  ~PerProcess() {
    const Owned* const owned = current_;
    if (owned->forks == forks()) delete owned;
  }
  PerProcess(const PerProcess&) = delete;
  PerProcess& operator=(const PerProcess&) = delete;

  T& get() {
    Owned* owned = current_;
    if (owned->forks == forks()) return *owned->object;
    std::unique_ptr<Owned> mine(make_one());
    if (current_.compare_exchange_strong(owned, mine.get())) return *mine.release()->object;
    return *owned->object;  // another thread of this process was faster
  }

 private:
  struct Owned {
    uint64_t forks;
    std::unique_ptr<T> object;
  };
  Owned* make_one() const { return new Owned{forks(), make_()}; }

  std::function<std::unique_ptr<T>()> make_;
  std::atomic<Owned*> current_;
};

}  // namespace onebit
