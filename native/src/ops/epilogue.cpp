// Lays out the tables of an epilogue for the kernels.
#include <algorithm>

#include "ops/op.h"

namespace onebit {
namespace {

StepKind plan_kind(Step::Kind kind) {
  switch (kind) {
    case Step::Kind::affine:
      return StepKind::affine;
    case Step::Kind::slopes:
      return StepKind::slopes;
    case Step::Kind::clamp:
      return StepKind::clamp;
    case Step::Kind::add:
      return StepKind::add;
    case Step::Kind::levels:
      return StepKind::levels;
    case Step::Kind::binarize:
      return StepKind::binarize;
    case Step::Kind::threshold:
      return StepKind::threshold;
    case Step::Kind::store:
      break;
  }
  return StepKind::store;
}

}  // namespace

Epilogue::Epilogue(const EpilogueKernel& kernel, const std::vector<Step>& steps, const std::vector<size_t>& values,
                   size_t channels)
    : kernel_(&kernel), channels_(channels) {
  const size_t length = padded_channels(channels);
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    StepPlan plan{plan_kind(step.kind)};
    plan.inclusive = step.rule == Rule::step;
    plan.low = step.low;
    plan.high = step.high;
    plan.value = values[i];
    plan.first = keep(step.first, length, 0.0f);
    plan.second = keep(step.second, length, 0.0f);
    if (step.kind == Step::Kind::threshold) {
      plan.below = keep(step.below, length, int32_t{0});
      plan.flip = keep(step.flip, length / kWordBits, uint32_t{0});
    }
    steps_.push_back(plan);
  }
}

template <class T>
const T* Epilogue::keep(const std::vector<T>& table, size_t length, T fill) {
  tables_.emplace_back(length * sizeof(T));
  T* copy = tables_.back().as<T>();
  std::fill(std::copy(table.begin(), table.end(), copy), copy + length, fill);
  return copy;
}

void Epilogue::finish(const RunContext& context, const float* y, size_t stride, size_t pixel, size_t count) const {
  EpilogueTile part = tile(context);
  for (; part.channel < channels_; part.channel += kBlock) {
    part.channels = std::min(kBlock, channels_ - part.channel);
    if (part.channels == kBlock) {
      part.pixel = pixel;
      part.pixel_count = count;
      kernel_->floats(part, y + part.channel, stride);
      continue;
    }
    part.pixel_count = 1;
    alignas(64) float whole[kBlock] = {};  // kernels read whole blocks
    for (size_t p = 0; p < count; ++p) {
      part.pixel = pixel + p;
      std::copy_n(y + p * stride + part.channel, part.channels, whole);
      kernel_->floats(part, whole, kBlock);
    }
  }
}

}  // namespace onebit
