# The two functions with which folders declare their targets, and the warning flags.

add_library(ingot_warnings INTERFACE)
# Not -Wsign-conversion: index arithmetic between size_t and the signed types of intrinsics would drown the rest.
target_compile_options(ingot_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
  # g++ 12 sees overlaps and overflows in ordinary string additions (its bugs 105651 and 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-stringop-overflow>)
# Results must not depend on whether a compiler fuses a multiplication and an addition.
add_compile_options(-ffp-contract=off)

# The files of a list that exist. A missing one is a warning, so that a folder in the making does not stop work on the others.
function(ingot_existing_files result)
  set(existing "")
  foreach(file IN LISTS ARGN)
    if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      list(APPEND existing ${file})
    else()
      message(WARNING "${CMAKE_CURRENT_SOURCE_DIR}/${file} is listed but does not exist")
    endif()
  endforeach()
  set(${result} "${existing}" PARENT_SCOPE)
endfunction()

# Code that runs once per file or per command is compiled with -O1: it halves the time of a build. A file whose functions show up in a
# profile belongs into HOT: no function compiled with -O1 reaches 1 % of the samples of perf in converting 2 GB HF -> .ingot and HF -> GGUF F16.
set(ingot_cold_options $<$<CONFIG:Release>:-O1>)

# ingot_add_layer(name SOURCES file... [HOT file...] [LINKS target...] [PRIVATE_LINKS target...])
# A layer of the table in CONTRIBUTING.md as a static library. LINKS are the layers whose headers it may include. With HOT, only the files
# named there (those with loops over elements) keep the full optimization of the build type.
function(ingot_add_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;HOT;LINKS;PRIVATE_LINKS")
  ingot_existing_files(arg_SOURCES ${arg_SOURCES})
  if(NOT arg_SOURCES)  # header-only
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
    target_link_libraries(${name} INTERFACE ${arg_LINKS})
    set_property(GLOBAL APPEND PROPERTY INGOT_LAYERS ${name})
    return()
  endif()
  add_library(${name} STATIC ${arg_SOURCES})
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:include/ingot>)
  target_link_libraries(${name} PUBLIC ${arg_LINKS} PRIVATE ${arg_PRIVATE_LINKS} $<BUILD_INTERFACE:ingot_warnings>)
  target_precompile_headers(${name} PRIVATE
    <algorithm> <cstdint> <filesystem> <functional> <map> <memory> <optional> <set> <span> <string> <string_view> <variant> <vector>)
  if(arg_HOT)
    set(cold ${arg_SOURCES})
    list(REMOVE_ITEM cold ${arg_HOT})
    set_source_files_properties(${cold} PROPERTIES COMPILE_OPTIONS "${ingot_cold_options}")
  endif()
  set_property(GLOBAL APPEND PROPERTY INGOT_LAYERS ${name})
endfunction()

# ingot_add_isa_source(target source definition flag...)
# A file for one x86 instruction-set extension: only this file gets the flags. `definition` tells the rest of the target that it exists,
# or, written file.cpp=definition, that one file.
function(ingot_add_isa_source target source definition)
  if(NOT INGOT_ISA OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    return()
  endif()
  ingot_existing_files(source ${source})
  if(NOT source)
    return()
  endif()
  target_sources(${target} PRIVATE ${source})
  # g++ 12 calls the undefined operands inside its own AVX-512 headers uninitialized.
  set_source_files_properties(${source} PROPERTIES
    SKIP_PRECOMPILE_HEADERS ON
    COMPILE_OPTIONS "${ARGN};-fno-exceptions;-Wno-uninitialized;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
  if(definition MATCHES "^(.+\\.cpp)=(.+)$")
    set_property(SOURCE ${CMAKE_MATCH_1} APPEND PROPERTY COMPILE_DEFINITIONS ${CMAKE_MATCH_2})
  else()
    target_compile_definitions(${target} PRIVATE ${definition})
  endif()
  set_property(GLOBAL APPEND PROPERTY INGOT_ISA_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/${source})
endfunction()
