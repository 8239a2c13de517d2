// Selection of kernels by measurement.
//
// The tables list kernels best first, which is right for most shapes on most CPUs. With Options::tune every candidate
// is timed on the layer alone, with one thread, on zeros. Results are kept for the process, so layers of the same shape
// and other engines are not timed again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "onebit/engine.h"
#include "ops/op.h"

namespace onebit {

// A layer to select a kernel for: its key (instruction set, op, shapes), the bytes of its input and of its result, and
// the most memory that a candidate may use.
struct TuningProblem {
  std::string key;
  size_t input_bytes, result_bytes, max_memory;
};

// The index of the fastest candidate. `names`: of the kernels, without duplicates. make(candidate, store) returns an op
// that reads value 0 and writes value 1.
size_t fastest(const TuningProblem& problem, const std::vector<std::string>& names,
               const std::function<std::unique_ptr<Op>(size_t candidate, Store& store)>& make, Poll& poll);

}  // namespace onebit
