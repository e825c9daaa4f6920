# Every test, found by where it lies: to add one, add a file (and run make test again).
#
#   tests/unit|model|rules|fault|race/test_NAME.c   a cmocka program, linked with the core, the model
#                                                   and port/linux, or port/sim if it includes "sim.h"
#   tests/torture/*.c                               one program, with and without failing.c; longer runs:
#                                                   see test_torture.c
#   tests/support/*.c                               linked into each of those and into the fuzzers
#   tests/fuzz/fuzz_NAME.c                          a libFuzzer target; seeds in tests/fuzz/NAME/
#   tests/contract/NAME.c|.cpp                      a plain program, run on libquarry-malloc.so:
#                                                   0 is a pass, 77 a skip; once more checked, hardened, sampled
#   tests/whole/NAME.c                              the same, linked with libquarry-whole.so: its heap,
#                                                   files and region are in 64 MiB
#   examples/NAME.c                                 a program on the public headers; 0 is a pass
#   tests/spin/NAME.pml                             a spin model; NAME_must_fail.pml must find an error
#   tests/FOLDER/run                                a script that prints 'N passed, M failed'; it gets
#                                                   QUARRY_BIN, QUARRY_MALLOC_LIB, BUILD_DIR, CC, CXX
#
# Which build runs what: dev (gcc) all but the fuzzers, unit tests once more under valgrind;
# asan (clang) unit, model, rules, fault and the fuzzers; tsan the races and the torture.
enable_testing()
enable_language(CXX)

get_filename_component(config ${PROJECT_BINARY_DIR} NAME)
set(tests ${PROJECT_SOURCE_DIR}/tests)

# quarry_test(LABEL NAME SECONDS COMMAND...): one test. The longest may start first (COST).
function(quarry_test label name seconds)
    add_test(NAME ${config}.${label}.${name} COMMAND ${ARGN})
    set_tests_properties(${config}.${label}.${name} PROPERTIES
        LABELS "${label}" TIMEOUT ${seconds} COST ${seconds} SKIP_RETURN_CODE 77)
endfunction()

# --- cmocka programs -------------------------------------------------------------------------

pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
find_program(VALGRIND valgrind)

file(GLOB sources CONFIGURE_DEPENDS ${tests}/support/*.c)
add_library(quarry-test STATIC EXCLUDE_FROM_ALL ${sources})
target_include_directories(quarry-test PUBLIC . include src tests/support PRIVATE port/linux)
target_link_libraries(quarry-test PUBLIC quarry-model PkgConfig::CMOCKA m)

# The core once more, on the port whose CPUs and failures a test chooses.
file(GLOB sources CONFIGURE_DEPENDS port/sim/*.c)
add_library(quarry-sim STATIC EXCLUDE_FROM_ALL ${core_sources} ${sources})
target_include_directories(quarry-sim PUBLIC include port/sim PRIVATE src)

# quarry_link(TARGET SOURCE): a test's libraries; including sim.h is asking for port/sim.
function(quarry_link target source)
    file(STRINGS ${source} sim REGEX "^#include \"sim.h\"")
    if(sim)
        target_link_libraries(${target} PRIVATE quarry-test quarry-sim)
    else()
        target_include_directories(${target} PRIVATE port/linux)
        target_link_libraries(${target} PRIVATE quarry-test quarry-static)
    endif()
    set(sim "${sim}" PARENT_SCOPE)
endfunction()

function(quarry_programs label seconds)
    file(GLOB sources CONFIGURE_DEPENDS ${tests}/${label}/test_*.c)
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        string(REPLACE test_ "" name ${name})
        add_executable(test-${label}-${name} ${source})
        quarry_link(test-${label}-${name} ${source})
        if(sim AND QUARRY_SANITIZE MATCHES thread)
            continue()    # one thread plays all CPUs: nothing to see for the thread sanitizer
        endif()
        quarry_test(${label} ${name} ${seconds} test-${label}-${name})
        if(label STREQUAL unit AND VALGRIND AND NOT QUARRY_SANITIZE)
            quarry_test(valgrind ${name} 300 ${VALGRIND} -q --error-exitcode=9 --leak-check=full
                $<TARGET_FILE:test-${label}-${name}>)
        endif()
    endforeach()
endfunction()

if(NOT QUARRY_SANITIZE MATCHES thread)
    quarry_programs(unit 60)
    quarry_programs(model 240)
    quarry_programs(rules 120)
    quarry_programs(fault 240)
endif()
if(NOT QUARRY_SANITIZE MATCHES address)
    quarry_programs(race 240)

    # All kinds of use at once, twice: as it is, and with calls of the port that fail. QUARRY_SECONDS
    # says how long; a hang they notice themselves.
    file(GLOB sources CONFIGURE_DEPENDS ${tests}/torture/*.c)
    foreach(name failing random)
        add_executable(test-torture-${name} ${sources})
        quarry_link(test-torture-${name} ${tests}/torture/test_torture.c)
        quarry_test(torture ${name} 86400 test-torture-${name})
        list(FILTER sources EXCLUDE REGEX failing)
    endforeach()
    foreach(call commit decommit move window_map window_unmap window_protect)
        target_link_options(test-torture-failing PRIVATE -Wl,--wrap=qy_port_${call})
    endforeach()
endif()

# --- Fuzzers ---------------------------------------------------------------------------------

if(quarry_fuzz)
    math(EXPR limit "${QUARRY_FUZZ_SECONDS} + 120")
    file(GLOB sources CONFIGURE_DEPENDS ${tests}/fuzz/fuzz_*.c)
    foreach(source ${sources})
        get_filename_component(name ${source} NAME_WE)
        string(REPLACE fuzz_ "" name ${name})
        set(found ${PROJECT_BINARY_DIR}/fuzz/${name})
        file(MAKE_DIRECTORY ${found})
        set(seeds ${tests}/fuzz/${name})
        if(NOT IS_DIRECTORY ${seeds})
            set(seeds "")
        endif()
        add_executable(fuzz-${name} ${source})
        quarry_link(fuzz-${name} ${source})
        target_link_options(fuzz-${name} PRIVATE -fsanitize=fuzzer)
        # A finding ends with 1: libFuzzer's own 77 would read as a skip.
        quarry_test(fuzz ${name} ${limit} fuzz-${name} -max_total_time=${QUARRY_FUZZ_SECONDS}
            -timeout=20 -error_exitcode=1 -timeout_exitcode=1 -print_final_stats=1 -artifact_prefix=${found}- ${found} ${seeds})
    endforeach()
endif()

if(QUARRY_SANITIZE)
    return()
endif()

# --- Examples: each is a program, and each must run --------------------------------------------

file(GLOB sources CONFIGURE_DEPENDS examples/*.c)
foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(example-${name} ${source})
    target_link_libraries(example-${name} PRIVATE quarry-static)
    quarry_test(examples ${name} 60 example-${name})
endforeach()

# --- malloc's contract: plain programs on libquarry-malloc.so ---------------------------------

file(GLOB sources CONFIGURE_DEPENDS ${tests}/contract/*.c ${tests}/contract/*.cpp)
foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    # What the program says is what happens: no malloc is folded away.
    add_executable(contract-${name} ${source})
    target_compile_options(contract-${name} PRIVATE -O1 -fno-builtin)
    target_link_libraries(contract-${name} PRIVATE Threads::Threads ${CMAKE_DL_LIBS} m)
    foreach(mode contract contract-checked contract-hardened contract-sampled)
        # To be checked takes addresses that no limit leaves (docs/settings.md).
        if(mode STREQUAL contract-checked AND name MATCHES "^(limit_|calls_fail)")
            continue()
        endif()
        quarry_test(${mode} ${name} 240 contract-${name})
        set_property(TEST ${config}.${mode}.${name} PROPERTY
            ENVIRONMENT "LD_PRELOAD=$<TARGET_FILE:quarry-malloc>")
    endforeach()
    if(TEST ${config}.contract-checked.${name})
        set_property(TEST ${config}.contract-checked.${name} APPEND PROPERTY ENVIRONMENT QUARRY_CHECK=1)
    endif()
    set_property(TEST ${config}.contract-hardened.${name} APPEND PROPERTY ENVIRONMENT QUARRY_HARDEN=1)
    # To sample all is slow: who fills memory again and again does with one in a while.
    set(rate all)
    if(name MATCHES "^(limit_|calloc_zero)")
        set(rate 1)
    endif()
    set_property(TEST ${config}.contract-sampled.${name} APPEND PROPERTY ENVIRONMENT QUARRY_SAMPLE=${rate})
endforeach()

# --- malloc and the library in one: plain programs linked with libquarry-whole.so -------------

file(GLOB sources CONFIGURE_DEPENDS ${tests}/whole/*.c)
foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(whole-${name} ${source})
    target_compile_options(whole-${name} PRIVATE -O1 -fno-builtin)
    target_link_libraries(whole-${name} PRIVATE quarry-whole Threads::Threads)
    quarry_test(whole ${name} 240 whole-${name})
    set_property(TEST ${config}.whole.${name} PROPERTY
        ENVIRONMENT QUARRY_LIMIT=64M "QUARRY_CMA=16M,eager")
endforeach()

# --- Models of the lock-free protocols --------------------------------------------------------

file(GLOB models CONFIGURE_DEPENDS ${tests}/spin/*.pml)
foreach(model ${models})
    get_filename_component(name ${model} NAME_WE)
    quarry_test(spin ${name} 120 ${tests}/spin/run ${model})
endforeach()

# --- Scripts ---------------------------------------------------------------------------------

if(NOT QUARRY_TOOL)
    message(FATAL_ERROR "QUARRY_TESTS needs QUARRY_TOOL: the tests run the program 'quarry', too")
endif()
set(script_environment
    "BUILD_DIR=${PROJECT_BINARY_DIR}"
    "CC=${CMAKE_C_COMPILER}" "CXX=${CMAKE_CXX_COMPILER}"
    "QUARRY_BIN=$<TARGET_FILE:quarry-tool>" "QUARRY_MALLOC_LIB=$<TARGET_FILE:quarry-malloc>")

file(GLOB scripts CONFIGURE_DEPENDS ${tests}/*/run)
foreach(script ${scripts})
    get_filename_component(folder ${script} DIRECTORY)
    get_filename_component(name ${folder} NAME)
    if(name STREQUAL spin)
        continue()
    endif()
    quarry_test(${name} run 900 ${script})
    set_tests_properties(${config}.${name}.run PROPERTIES
        ENVIRONMENT "${script_environment}" WORKING_DIRECTORY ${folder})
endforeach()

# What `make check` asks and what needs no more than a compiler and Python is a test as well.
foreach(check layers conditionals rules length headers config freestanding symbols fastpath start)
    quarry_test(check ${check} 120 ${PROJECT_SOURCE_DIR}/scripts/check-${check})
    set_tests_properties(${config}.check.${check} PROPERTIES ENVIRONMENT "${script_environment}")
endforeach()
