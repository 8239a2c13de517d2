// State that a child process cannot inherit by fork.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace onebit {

// The number of forks between the process that loaded this library and the calling one. A child's number differs from
// its parent's.
uint64_t forks();

// An object that a child process cannot inherit, such as threads and locks: fork copies memory but no other threads,
// and a lock that another thread held stays locked forever. Every process creates its own object when it first needs
// it. In the child the parent's object is leaked, since its threads cannot be joined.
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
    return *owned->object;  // another thread of this process came first
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
