# What a user may choose, and the flags that every target shares.

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

option(QUARRY_TOOL "Build the program 'quarry', which needs jansson and ncurses" ${PROJECT_IS_TOP_LEVEL})
option(QUARRY_DEV "Warnings are errors" OFF)
option(QUARRY_TESTS "Build the tests" OFF)
set(QUARRY_SANITIZE "" CACHE STRING "Sanitizers to build with: 'address,undefined' or 'thread'")
set(QUARRY_FUZZ_SECONDS 10 CACHE STRING "How long each fuzzer runs as a test")

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
# Only what a header marks QY_API leaves a library.
set(CMAKE_C_VISIBILITY_PRESET hidden)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig)

add_compile_options(-Wall -Wextra -Wundef -Wshadow $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
    $<$<BOOL:${QUARRY_DEV}>:-Werror>)
add_link_options(-Wl,--as-needed)

# A library that lacks a symbol fails here rather than at its user's.
set(quarry_defs -Wl,-z,defs)

if(QUARRY_SANITIZE)
    add_compile_options(-fsanitize=${QUARRY_SANITIZE} -fno-sanitize-recover=all
        -fno-omit-frame-pointer -O1)
    add_compile_definitions(QY_DEBUG=1)
    add_link_options(-fsanitize=${QUARRY_SANITIZE})
    set(quarry_defs "")    # the sanitizer's symbols come with the program
    if(CMAKE_C_COMPILER_ID MATCHES Clang AND QUARRY_SANITIZE MATCHES address)
        set(quarry_fuzz ON)
        add_compile_options(-fsanitize=fuzzer-no-link)
    endif()
endif()
