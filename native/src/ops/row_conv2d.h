// Real-valued convolution by minimal filtering along the rows.
#pragma once

#include "ops/conv_plan.h"

namespace onebit {

// Whether minimal filtering is possible and likely to be faster.
bool fits_row_conv2d(const ConvPlan& plan);

std::unique_ptr<Op> make_row_conv2d(BuildContext, const ConvPlan&, size_t input, const RealWeights&, Epilogue);

}  // namespace onebit
