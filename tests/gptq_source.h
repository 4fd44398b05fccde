// A GPTQ checkpoint whose matrices are read in several windows (conversion/source_witness.cpp), written for a test.
#pragma once

#include "converters/registry.h"
#include "layer_of_floats.h"
#include "temporary_directory.h"

namespace ingot::test {

class GptqSource {
 public:
  GptqSource() {
    convert::ConvertOptions options;
    options.to = "gptq";
    options.allow = convert::ProofClass::requantized;
    options.write.scheme = "4bit-g128-asym";
    options.write.sync = false;
    options.prove = false;
    (void)convert::convert(layer_of_floats(64, 256, 5120, 2), directory_ / "source", options);
  }
  [[nodiscard]] tensor::Model model() const { return convert::read_model(directory_ / "source"); }

 private:
  TemporaryDirectory directory_;
};

}  // namespace ingot::test
