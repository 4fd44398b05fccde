#include "inspect/verify_text.h"

#include "format/base/utf8.h"

namespace ingot::inspect {

std::string verify_text(const std::string& path, const container::VerifyResult& result, bool values, double seconds,
                        const TextStyle& style) {
  const bool intact = result.findings.empty();
  std::string text = paint(printable(path), Ink::strong, style) + ": ";
  text += intact ? paint("intact", Ink::good, style)
                 : paint("damaged", Ink::bad, style) + ", " + plural(result.findings.size(), "problem");
  text += "\n";
  FactList list;
  list.add("checked", human_bytes(result.checked_bytes) + (values ? " and all values" : "") + " in " +
                          human_seconds(seconds) + " (" +
                          human_rate(static_cast<double>(result.checked_bytes), seconds) + ")");
  if (result.members > 0) list.add("set", "the manifest and " + plural(result.members, "member"));
  if (result.dead_bytes > 0)
    list.add("dead", human_bytes(result.dead_bytes) + " of superseded bytes, not covered (ingot compact frees them)");
  text += list.render(style);
  if (intact) return text;
  text += "\n";
  for (const container::Finding& finding : result.findings) {
    const std::string place =
        finding.offset == Error::kNoOffset ? std::string() : " at byte " + std::to_string(finding.offset);
    const std::string line = std::string(error_kind_name(finding.kind)) + place + ": " + printable(finding.message);
    text += wrap(line, style.width, 2) + "\n";
  }
  return text;
}

Json verify_json(const std::string& path, const container::VerifyResult& result, double seconds) {
  Json findings(JsonArray{});
  for (const container::Finding& finding : result.findings) {
    Json entry;
    entry.set("kind", error_kind_name(finding.kind));
    if (finding.offset != Error::kNoOffset) entry.set("offset", finding.offset);
    entry.set("message", to_valid_utf8(finding.message));
    findings.push_back(std::move(entry));
  }
  Json json;
  json.set("path", to_valid_utf8(path));
  json.set("intact", result.findings.empty());
  json.set("findings", std::move(findings));
  json.set("checked_bytes", result.checked_bytes);
  json.set("dead_bytes", result.dead_bytes);
  if (result.members > 0) json.set("members", result.members);
  json.set("seconds", seconds);
  return json;
}

}  // namespace ingot::inspect
