// Steps of an epilogue, constructed with the arguments of their kind.
#include <utility>

#include "onebit/engine.h"

namespace onebit {

Step Step::affine(Table<float> scale, Table<float> bias) {
  Step step;
  step.kind = Kind::affine;
  step.first = std::move(scale);
  step.second = std::move(bias);
  return step;
}

Step Step::slopes(Table<float> positive, Table<float> negative) {
  Step step = affine(std::move(positive), std::move(negative));
  step.kind = Kind::slopes;
  return step;
}

Step Step::clamp(float low, float high) {
  Step step;
  step.kind = Kind::clamp;
  step.low = low;
  step.high = high;
  return step;
}

Step Step::add(std::string input) {
  Step step;
  step.kind = Kind::add;
  step.value = std::move(input);
  return step;
}

Step Step::levels(float low, float high, Rule rule) {
  Step step = clamp(low, high);
  step.kind = Kind::levels;
  step.rule = rule;
  return step;
}

Step Step::binarize(std::string output, Rule rule, Table<float> threshold) {
  Step step;
  step.kind = Kind::binarize;
  step.value = std::move(output);
  step.rule = rule;
  step.first = std::move(threshold);
  return step;
}

Step Step::threshold(std::string output, Table<int32_t> below, Table<uint32_t> flip) {
  Step step;
  step.kind = Kind::threshold;
  step.value = std::move(output);
  step.below = std::move(below);
  step.flip = std::move(flip);
  return step;
}

Step Step::store(std::string output, ValueType type) {
  Step step;
  step.value = std::move(output);
  step.type = type;
  return step;
}

}  // namespace onebit
