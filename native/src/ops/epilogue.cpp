// The steps of an epilogue in the form that kernels read.
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

Epilogue::Epilogue(const EpilogueKernel& kernel, Store& store, const std::vector<Step>& steps,
                   const std::vector<ValueRef>& values, size_t channels, size_t positions)
    : kernel_(&kernel), channels_(channels) {
  const size_t stride = table_stride(channels);
  const auto padded = [&](const Table<float>& table) {
    return padded_table(store, table, channels, stride, positions);
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    StepPlan plan{plan_kind(step.kind)};
    plan.inclusive = step.rule == Rule::step;
    plan.low = step.low;
    plan.high = step.high;
    plan.value = values[i].index;
    plan.half = values[i].half;
    switch (step.kind) {
      case Step::Kind::affine:
      case Step::Kind::slopes:
        plan.first = padded(step.first);
        plan.second = padded(step.second);
        break;
      case Step::Kind::binarize:
        plan.first = padded(step.first);
        break;
      case Step::Kind::threshold:
        plan.below = padded_table(store, step.below, channels, stride, positions);
        plan.flip = padded_table(store, step.flip, words_for(channels), stride / kWordBits, positions);
        break;
      default:
        break;
    }
    steps_.push_back(plan);
  }
}

void Epilogue::finish(const RunContext& context, ValueRef map, size_t pixel, size_t count, size_t channel,
                      size_t channels) const {
  const uint8_t* data = context.values[map.index];
  if (map.half) {
    const Half* y = reinterpret_cast<const Half*>(data) + pixel * channels;
    finish_blocks(context, kernel_->halves, y, channels, pixel, count, channel, channels);
  } else {
    const float* y = reinterpret_cast<const float*>(data) + pixel * channels;
    finish_blocks(context, kernel_->floats, y, channels, pixel, count, channel, channels);
  }
}

const float* Epilogue::floats(const RunContext& context, ValueRef value, size_t first, size_t count,
                              float* buffer) const {
  const uint8_t* data = context.values[value.index];
  if (!value.half) return reinterpret_cast<const float*>(data) + first;
  kernel_->widen(reinterpret_cast<const Half*>(data) + first, count, buffer);
  return buffer;
}

void Epilogue::finish(const RunContext& context, const PoolWindows& windows, size_t pixel, size_t count) const {
  EpilogueTile part = tile(context);
  part.pixel = pixel;
  part.pixel_count = count;
  for (; part.channel < channels_; part.channel = part.table += kBlock) {
    part.channels = std::min(kBlock, channels_ - part.channel);
    kernel_->windows(part, windows);
  }
}

}  // namespace onebit
