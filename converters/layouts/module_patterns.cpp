#include "converters/layouts/module_patterns.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace ingot::convert {
namespace {

using Words = std::vector<std::string>;  // that stand for one another
using Product = std::vector<Words>;      // modules whose k-th word between dots is one of the k-th words

Product words_of(std::string_view module) {
  Product words;
  for (std::size_t begin = 0;;) {
    const std::size_t end = module.find('.', begin);
    words.push_back({std::string(module.substr(begin, end - begin))});
    if (end == std::string_view::npos) return words;
    begin = end + 1;
  }
}

std::string quoted(const std::string& word) {
  constexpr std::string_view kSpecial = "\\^$.|?*+()[]{}";
  std::string text;
  for (const char c : word) {
    if (kSpecial.find(c) != std::string_view::npos) text += '\\';
    text += c;
  }
  return text;
}

std::string text_of(const Product& product) {
  std::string text = "^";
  for (std::size_t k = 0; k < product.size(); ++k) {
    if (k > 0) text += "\\.";
    const Words& words = product[k];
    if (words.size() > 1) text += "(?:";
    for (std::size_t i = 0; i < words.size(); ++i) text += (i > 0 ? "|" : "") + quoted(words[i]);
    if (words.size() > 1) text += ")";
  }
  return text + "$";
}

/// Joins products that differ in their k-th words only.
std::vector<Product> joined(std::vector<Product> products, std::size_t k) {
  std::vector<Product> result;
  std::map<Product, std::size_t> places;  // of those with other k-th words
  for (Product& product : products) {
    if (k >= product.size()) {
      result.push_back(std::move(product));
      continue;
    }
    Product others = product;
    others[k].clear();
    const auto [place, is_new] = places.emplace(std::move(others), result.size());
    if (is_new) {
      result.push_back(std::move(product));
    } else {
      Words& words = result[place->second][k];
      words.insert(words.end(), product[k].begin(), product[k].end());
    }
  }
  return result;
}

void add_texts(const Product& product, std::vector<std::string>& texts) {
  std::string text = text_of(product);
  const auto widest = std::max_element(product.begin(), product.end(),
                                       [](const Words& a, const Words& b) { return a.size() < b.size(); });
  if (text.size() <= kLongestModulePattern || widest->size() == 1) return texts.push_back(std::move(text));
  const auto k = widest - product.begin();
  const auto middle = static_cast<std::ptrdiff_t>(widest->size() / 2);
  Product first = product, second = product;
  first[static_cast<std::size_t>(k)].assign(widest->begin(), widest->begin() + middle);
  second[static_cast<std::size_t>(k)].assign(widest->begin() + middle, widest->end());
  add_texts(first, texts);
  add_texts(second, texts);
}

}  // namespace

std::vector<std::string> module_patterns(const std::vector<std::string>& modules) {
  std::vector<Product> products;
  std::size_t longest = 0;
  for (const std::string& module : modules) {
    products.push_back(words_of(module));
    longest = std::max(longest, products.back().size());
  }
  for (std::size_t k = longest; k-- > 0;) products = joined(std::move(products), k);
  std::vector<std::string> texts;
  for (const Product& product : products) add_texts(product, texts);
  return texts;
}

}  // namespace ingot::convert
