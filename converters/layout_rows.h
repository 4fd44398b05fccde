// One function per layout, each defined in the layout's own file. Included by registry.cpp and by those files, by
// nobody else.
#pragma once

#include "converters/layout.h"

namespace ingot::convert {

[[nodiscard]] const Layout& ingot_layout() noexcept;
[[nodiscard]] const Layout& hf_layout() noexcept;
[[nodiscard]] const Layout& gguf_layout() noexcept;
[[nodiscard]] const Layout& gptq_layout() noexcept;
[[nodiscard]] const Layout& awq_layout() noexcept;
[[nodiscard]] const Layout& bnb_layout() noexcept;
[[nodiscard]] const Layout& mlx_layout() noexcept;
[[nodiscard]] const Layout& compressed_tensors_layout() noexcept;
[[nodiscard]] const Layout& fp8_layout() noexcept;
[[nodiscard]] const Layout& mxfp4_layout() noexcept;
[[nodiscard]] const Layout& nvfp4_layout() noexcept;
[[nodiscard]] const Layout& hqq_layout() noexcept;
[[nodiscard]] const Layout& quanto_layout() noexcept;
[[nodiscard]] const Layout& torchao_layout() noexcept;
[[nodiscard]] const Layout& exl2_layout() noexcept;

}  // namespace ingot::convert
