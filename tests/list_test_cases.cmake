# cmake -D PROGRAM=... -D NAME=... -D LABELS=... -D CASES=... -D OUTPUT=... -P list_test_cases.cmake
# Asks a doctest binary for its test cases and writes one add_test() for each, so that CTest counts, times and labels them one by one.
# (doctest's own doctest_discover_tests cannot set labels.)
execute_process(COMMAND ${PROGRAM} --list-test-cases --no-colors=true OUTPUT_VARIABLE listing RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} --list-test-cases failed (${result}):\n${listing}")
endif()
string(REGEX REPLACE "[\r\n]+" ";" lines "${listing}")
set(script "")
foreach(line IN LISTS lines)
  if(line STREQUAL "" OR line MATCHES "^\\[doctest\\]" OR line MATCHES "^===")
    continue()
  endif()
  if(CASES AND NOT line MATCHES "${CASES}")
    continue()
  endif()
  string(REPLACE "," "\\," filter "${line}")  # doctest separates filters by commas
  string(APPEND script
    "add_test([==[${NAME}.${line}]==] [==[${PROGRAM}]==] [==[--test-case=${filter}]==] --no-intro=true)\n"
    "set_tests_properties([==[${NAME}.${line}]==] PROPERTIES TIMEOUT 900 LABELS [==[${LABELS}]==] SKIP_REGULAR_EXPRESSION [==[SKIPPED: ]==])\n")
endforeach()
file(WRITE "${OUTPUT}" "${script}")
