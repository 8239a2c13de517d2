// The kernels of one instruction set: the first row of each table that it includes.
#pragma once

#include "kernels/binary_conv/binary_conv.h"
#include "kernels/epilogue/epilogue.h"
#include "kernels/float_conv/float_conv.h"

namespace onebit {

struct Kernels {
  const BinaryConvKernel* binary_conv;
  const FloatConvKernel* float_conv;
  const EpilogueKernel* epilogue;
};

Kernels kernels_for(Isa isa);

}  // namespace onebit
