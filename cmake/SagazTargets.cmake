# How a target of sagaz is built, and how its tests are found. Everything offline: dependencies
# come from the distribution by find_package or pkg-config.

include(GNUInstallDirs)
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(PROJECT_IS_TOP_LEVEL)
  find_program(SAGAZ_CCACHE ccache)
  if(SAGAZ_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${SAGAZ_CCACHE})
  endif()
  find_program(SAGAZ_MOLD mold)
  if(SAGAZ_MOLD)
    add_link_options(-fuse-ld=mold)
  endif()
endif()

set(SAGAZ_SANITIZE "" CACHE STRING "Sanitizers, as in -fsanitize=: address,undefined or thread")
if(SAGAZ_SANITIZE)
  add_compile_options(-fsanitize=${SAGAZ_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)  # An empty optional's value is no error to them.
  add_link_options(-fsanitize=${SAGAZ_SANITIZE})
endif()
option(SAGAZ_WERROR "Warnings are errors (the presets turn it on)" OFF)

function(sagaz_flags target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    -Wnon-virtual-dtor -Wold-style-cast -Wformat=2 $<$<BOOL:${SAGAZ_WERROR}>:-Werror>)
endfunction()

# sagaz_find_httplib(): PkgConfig::httplib, with what its headers call where Debian built it with
# OpenSSL (13), which its .pc file keeps private.
macro(sagaz_find_httplib)
  find_package(OpenSSL REQUIRED COMPONENTS Crypto)
  pkg_check_modules(httplib REQUIRED IMPORTED_TARGET cpp-httplib)
  target_link_libraries(PkgConfig::httplib INTERFACE OpenSSL::Crypto)
endmacro()

# sagaz_library(name [STATIC] [SOURCES ...] [PUBLIC libs...] [PRIVATE libs...]): one installable
# library; sagaz_component (SagazPackage.cmake) installs it.
function(sagaz_library name)
  cmake_parse_arguments(arg "STATIC" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(static "")
  if(arg_STATIC)
    set(static STATIC)
  endif()
  # Headers only, so who links an installed library of ours does not need them.
  list(TRANSFORM arg_PRIVATE REPLACE "^(nlohmann_json::.*)$" "$<BUILD_INTERFACE:\\1>")
  add_library(${name} ${static} ${arg_SOURCES})
  string(REPLACE "sagaz_" "" short ${name})
  add_library(sagaz::${short} ALIAS ${name})
  # Without DEFINE_SYMBOL a shared build compiles with the very flags of a static one, so ccache
  # serves both. The version script keeps what templates of std leave behind out of our ABI.
  set_target_properties(${name} PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    EXPORT_NAME ${short} DEFINE_SYMBOL "" INSTALL_RPATH $ORIGIN LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/exports.map)
  get_target_property(type ${name} TYPE)
  if(type STREQUAL "SHARED_LIBRARY")
    target_link_options(${name} PRIVATE
      -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/exports.map -Wl,--no-undefined)
  endif()
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  sagaz_flags(${name})
endfunction()

# sagaz_insides(name): the target ${name}_insides, for code of this tree that reaches what a shared
# library hides: the same objects as an archive. In a static build it is the library itself. The
# executable is made of these alone, so it needs none of our shared libraries (ADR 0024); whatever
# library of ours it links has to have them.
function(sagaz_insides name)
  get_target_property(type ${name} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    add_library(${name}_insides ALIAS ${name})
    return()
  endif()
  add_library(${name}_insides STATIC $<TARGET_OBJECTS:${name}>)
  set_target_properties(${name}_insides PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(${name}_insides
                             INTERFACE $<TARGET_PROPERTY:${name},INTERFACE_INCLUDE_DIRECTORIES>)
  get_target_property(libraries ${name} LINK_LIBRARIES)
  list(TRANSFORM libraries REPLACE "^(sagaz(_[a-z]+)?)$" "\\1_insides")
  target_link_libraries(${name}_insides PUBLIC ${libraries})
endfunction()

# sagaz_test(name SOURCES ... [WAITS] [LINK libs...] [LABELS ...] [TIMEOUT s]): one gtest binary
# whose tests ctest knows one by one. Labels: unit, conformance, simulation, postgres, kafka, chaos.
# WAITS: they hardly compute, so more of them run at once.
if(SAGAZ_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
  include(GoogleTest)
  # The tests that need no server: what "./do test" runs under sanitizers.
  add_custom_target(quick_tests)
endif()

# Of the eight places that "./do test" gives ctest a test takes three, so two run at once, and one
# that mostly waits takes one: two of these beside the others. PROCESSORS is ctest's word for it.
set(SAGAZ_PLACES 3)
set(SAGAZ_PLACES_WAITING 1)

function(sagaz_test name)
  cmake_parse_arguments(arg "WAITS" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT SAGAZ_TESTS)
    return()
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LINK} GTest::gtest_main)
  sagaz_flags(${name})
  # A test's own source compiles a third faster so; what it tests keeps its optimisation.
  if(CMAKE_BUILD_TYPE STREQUAL "Debug")
    target_compile_options(${name} PRIVATE -O0)
  endif()
  if("unit" IN_LIST arg_LABELS OR "conformance" IN_LIST arg_LABELS OR
     "simulation" IN_LIST arg_LABELS)
    add_dependencies(quick_tests ${name})
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
    if("postgres" IN_LIST arg_LABELS OR "kafka" IN_LIST arg_LABELS)
      set(arg_TIMEOUT 300)
    endif()
  endif()
  set(places ${SAGAZ_PLACES})
  if(arg_WAITS)
    set(places ${SAGAZ_PLACES_WAITING})
  endif()
  # COST: what may take long begins first, so that nothing long is left at the end.
  set(properties TIMEOUT ${arg_TIMEOUT} COST ${arg_TIMEOUT} PROCESSORS ${places}
                 LABELS "${arg_LABELS}")
  if("postgres" IN_LIST arg_LABELS OR "kafka" IN_LIST arg_LABELS)
    # A server is started once a process: so all tests of the binary are one entry of ctest.
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES ${properties})
  else()
    gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 30
      PROPERTIES ${properties})
  endif()
endfunction()

# sagaz_test_pooled_too(name): the tests of this binary once more, through a pgbouncer in transaction
# mode. For a few of each kind; "./do test pooled" runs all that use PostgreSQL so.
function(sagaz_test_pooled_too name)
  if(SAGAZ_TESTS)
    add_test(NAME ${name}_pooled COMMAND ${name})
    set_tests_properties(${name}_pooled PROPERTIES LABELS postgres TIMEOUT 300 COST 300
      PROCESSORS ${SAGAZ_PLACES} ENVIRONMENT SAGAZ_TEST_POOLER=1)
  endif()
endfunction()
