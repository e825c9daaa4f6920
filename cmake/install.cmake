# What `make install` lays down: headers, libraries, the program, its manual, and the two ways
# in which other builds find them (pkg-config and find_package).
include(CMakePackageConfigHelpers)

install(DIRECTORY include/quarry DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS quarry-static quarry-shared EXPORT quarry-targets)
if(TARGET quarry-whole)
    install(TARGETS quarry-whole EXPORT quarry-targets)
endif()
foreach(target quarry-malloc quarry-tool)
    if(TARGET ${target})
        install(TARGETS ${target})
    endif()
endforeach()

# Manual pages are written as docs/man/NAME.SECTION.scd.
file(GLOB pages CONFIGURE_DEPENDS docs/man/*.scd)
find_program(SCDOC scdoc)
if(SCDOC)
    foreach(page ${pages})
        get_filename_component(name ${page} NAME_WLE)
        get_filename_component(title ${name} NAME_WE)
        string(REGEX MATCH "[0-9]$" section ${name})
        set(built ${PROJECT_BINARY_DIR}/man/${name})
        add_custom_command(OUTPUT ${built} DEPENDS ${page}
            COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man
            COMMAND ${SCDOC} < ${page} > ${built})
        list(APPEND manual ${built})
        install(FILES ${built} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
        # A page is found under each call that its NAME section has.
        file(READ ${page} text)
        string(REGEX MATCH "# NAME\n\n([^#]*)" names "${text}")
        string(REGEX MATCHALL "qy_[a-z_0-9]+" names "${CMAKE_MATCH_1}")
        foreach(other ${names})
            if(NOT other STREQUAL "${title}")
                file(WRITE ${PROJECT_BINARY_DIR}/man/${other}.3 ".so man${section}/${name}\n")
                install(FILES ${PROJECT_BINARY_DIR}/man/${other}.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
            endif()
        endforeach()
    endforeach()
    add_custom_target(quarry-manual ALL DEPENDS ${manual})
endif()

# Texts are installed without what only the source has: a link there becomes its words.
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN man EXCLUDE PATTERN *.md EXCLUDE)
file(GLOB texts RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS README.md CHANGELOG.md docs/*.md)
foreach(text ${texts})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${text})
    get_filename_component(folder ${text} DIRECTORY)
    file(READ ${text} words)
    string(REGEX REPLACE "\\[([^]]+)\\]\\(((\\.\\./)?(bench|src|tests)/|CONTRIBUTING)[^)]*\\)"
        "\\1 (in the source)" words "${words}")
    file(WRITE ${PROJECT_BINARY_DIR}/texts/${text} "${words}")
    install(FILES ${PROJECT_BINARY_DIR}/texts/${text} DESTINATION ${CMAKE_INSTALL_DOCDIR}/${folder})
endforeach()

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/quarry)
install(EXPORT quarry-targets NAMESPACE quarry:: DESTINATION ${config_dir})
configure_package_config_file(cmake/quarry-config.cmake.in quarry-config.cmake
    INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(quarry-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/quarry-config.cmake
    ${PROJECT_BINARY_DIR}/quarry-config-version.cmake DESTINATION ${config_dir})

# Paths relative to the .pc file itself, so that an installed tree can be moved.
file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
set(pc_library quarry)
set(pc_description "${PROJECT_DESCRIPTION}")
configure_file(cmake/quarry.pc.in quarry.pc @ONLY)
set(pc_library quarry-whole)
set(pc_description "${PROJECT_DESCRIPTION}, with a malloc of the same memory")
configure_file(cmake/quarry.pc.in quarry-whole.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/quarry.pc ${PROJECT_BINARY_DIR}/quarry-whole.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
