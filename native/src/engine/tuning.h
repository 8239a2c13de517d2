// Choices between kernels by the clock: what each takes for a layer of this shape, on this machine.
//
// The tables list kernels best first, which is right for most shapes on most CPUs of an instruction set; Options::tune
// asks for proof. Every candidate computes the layer alone, one thread, on zeros. A choice is remembered for the
// process, so that layers of one shape, and further engines, do not measure again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "onebit/engine.h"
#include "ops/op.h"

namespace onebit {

// A layer to choose a kernel for: its key (family, shapes, instruction set), the bytes of its input and of its result,
// the most memory that a candidate may take, and the op that a kernel makes of it, which reads value 0 and writes
// value 1.
struct TuningProblem {
  std::string key;
  size_t input_bytes, result_bytes, max_memory;
};

// The number of the candidate that was fastest. `names` are those of the kernels, unique among them.
size_t fastest(const TuningProblem& problem, const std::vector<std::string>& names,
               const std::function<std::unique_ptr<Op>(size_t candidate, Store& store)>& make, Poll& poll);

}  // namespace onebit
