// Kernel selection: the first row of each table that the instruction set includes and the CPU supports.
#pragma once

#include <type_traits>
#include <vector>

#include "kernels/binary_conv/binary_conv.h"
#include "kernels/epilogue/epilogue.h"
#include "kernels/float_conv/float_conv.h"
#include "kernels/int8_conv/int8_conv.h"

namespace onebit {

struct Kernels {
  const BinaryConvKernel* binary_conv;
  const FloatConvKernel* float_conv;
  const Int8ConvKernel* int8_conv;
  const EpilogueKernel* epilogue;
};

// `run_words`: words in a run of the binary convolution, by which its kernel is selected.
Kernels kernels_for(Isa isa, size_t run_words = 1);

template <class Kernel>
Feature needs(const Kernel&) {
  return Feature::none;
}
inline Feature needs(const Int8ConvKernel& kernel) { return kernel.feature; }

// All rows of a table that `isa` includes and the CPU supports, best first.
template <class Table>
auto candidates_for(Isa isa, const Table& table) {
  std::vector<std::decay_t<decltype(table[0])>> found;
  for (const auto* kernel : table) {
    if (includes(isa, kernel->isa) && cpu_has(needs(*kernel))) found.push_back(kernel);
  }
  return found;
}

}  // namespace onebit
