# cmake --install: the program, the libraries, their headers (include/ingot/format/..., included as "format/...") and a package config that
# gives users find_package(ingot) and the target ingot::ingot.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(ingot_layers GLOBAL PROPERTY INGOT_LAYERS)

add_library(ingot_library INTERFACE)
set_target_properties(ingot_library PROPERTIES EXPORT_NAME ingot)
target_link_libraries(ingot_library INTERFACE ${ingot_layers})
add_library(ingot::ingot ALIAS ingot_library)

install(TARGETS ingot RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# The program prints its own manual page and completions.
if(NOT CMAKE_CROSSCOMPILING)
  set(pages ${PROJECT_BINARY_DIR}/pages)
  add_custom_command(TARGET ingot POST_BUILD VERBATIM
    COMMAND ${CMAKE_COMMAND} -E make_directory ${pages}
    COMMAND $<TARGET_FILE:ingot> man > ${pages}/ingot.1
    COMMAND $<TARGET_FILE:ingot> completion bash > ${pages}/ingot
    COMMAND $<TARGET_FILE:ingot> completion zsh > ${pages}/_ingot)
  install(FILES ${pages}/ingot.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${pages}/ingot DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${pages}/_ingot DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()

install(TARGETS ingot_library ${ingot_layers} EXPORT ingot_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY format kernels converters inspect runtime DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ingot
  FILES_MATCHING PATTERN "*.h" PATTERN "commands*.h" EXCLUDE PATTERN "console.h" EXCLUDE
  PATTERN "hash_variant.h" EXCLUDE PATTERN "avx2_*.h" EXCLUDE PATTERN "avx512vnni_*.h" EXCLUDE)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY spec DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

set(ingot_config_directory ${CMAKE_INSTALL_LIBDIR}/cmake/ingot)
install(EXPORT ingot_targets NAMESPACE ingot:: FILE ingotTargets.cmake DESTINATION ${ingot_config_directory})
configure_package_config_file(cmake/ingotConfig.cmake.in ${PROJECT_BINARY_DIR}/ingotConfig.cmake
  INSTALL_DESTINATION ${ingot_config_directory} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ingotConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ingotConfig.cmake ${PROJECT_BINARY_DIR}/ingotConfigVersion.cmake
  DESTINATION ${ingot_config_directory})
