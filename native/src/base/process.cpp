// Counts forks.
#include "base/process.h"

#include <pthread.h>

namespace onebit {
namespace {

std::atomic<uint64_t> count{0};

const int registered = pthread_atfork(nullptr, nullptr, [] { ++count; });

}  // namespace

uint64_t forks() {
  static_cast<void>(registered);
  return count;
}

}  // namespace onebit
