# What `cmake --install` lays down besides the executable: headers, libraries, a CMake package with
# components, and a pkg-config file for each.
#
#   find_package(sagaz COMPONENTS postgres)          pkg-config sagaz-postgres
#
# A component is one of our libraries, asked for by name. A new one is one line beside its
# sagaz_library(), and nothing here:
#
#   sagaz_component(sagaz_sqlite "SQLite store" FINDS SQLite3 REQUIRES sqlite3)
#
# FINDS names what a static library's users have to link as well: a package for find_package, or
# TARGET=module for pkg-config (PkgConfig::TARGET). REQUIRES names the same in pkg-config's words.
# A shared library brings these itself, so its users need not have them.
#
# install()'s own components are named as the Debian packages of packaging/debian: sagaz, libsagaz,
# libsagaz-dev. "cmake --install" without --component lays down all.

include(CMakePackageConfigHelpers)

set(SAGAZ_CMAKE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/sagaz)
set_property(GLOBAL PROPERTY SAGAZ_COMPONENTS "")

function(sagaz_component target description)
  cmake_parse_arguments(arg "" "" "FINDS;REQUIRES" ${ARGN})
  string(REPLACE "sagaz_" "" component ${target})
  set_property(GLOBAL APPEND PROPERTY SAGAZ_COMPONENTS ${component})
  if(NOT SAGAZ_INSTALL)
    return()
  endif()
  install(TARGETS ${target} EXPORT sagaz-${component}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
            COMPONENT libsagaz NAMELINK_COMPONENT libsagaz-dev
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT libsagaz-dev
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT sagaz-${component} NAMESPACE sagaz:: DESTINATION ${SAGAZ_CMAKE_FOLDER}
          FILE sagaz-${component}-targets.cmake COMPONENT libsagaz-dev)

  get_target_property(type ${target} TYPE)
  set(finds "")
  if(type STREQUAL "STATIC_LIBRARY")
    foreach(item IN LISTS arg_FINDS)
      if(item MATCHES "^(.+)=(.+)$")
        string(APPEND finds "sagaz_find_module(${CMAKE_MATCH_1} ${CMAKE_MATCH_2})\n")
      else()
        string(APPEND finds "find_dependency(${item})\n")
      endif()
    endforeach()
  endif()
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/package/sagaz-${component}-component.cmake
       CONTENT "${finds}include(\"\${CMAKE_CURRENT_LIST_DIR}/sagaz-${component}-targets.cmake\")\n"
       @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/sagaz-${component}-component.cmake
          DESTINATION ${SAGAZ_CMAKE_FOLDER} COMPONENT libsagaz-dev)
  sagaz_pkg_config(${target} ${type} "${description}" "${arg_REQUIRES}")
endfunction()

# Users of a static library link its dependencies too, which pkg-config hands out only with
# --static when they are private; and --static asks for the whole static closure of libpq and
# librdkafka, which Debian does not install with them. So there they are plain requirements. A shared
# library's users need none of them, and no header of ours does: a private requirement would still ask
# for their .pc files.
function(sagaz_pkg_config target type description requires)
  string(REPLACE "_" "-" name ${target})
  if(type STREQUAL "SHARED_LIBRARY")
    set(requires "")
  endif()
  set(threads "")
  if(target STREQUAL "sagaz")
    set(threads " ${CMAKE_THREAD_LIBS_INIT}")
    string(STRIP "${threads}" threads)
  else()
    list(PREPEND requires "sagaz = ${PROJECT_VERSION}")
  endif()
  list(JOIN requires ", " requires)
  foreach(folder IN ITEMS LIBDIR INCLUDEDIR)
    set(path ${CMAKE_INSTALL_${folder}})
    if(NOT IS_ABSOLUTE "${path}")
      string(PREPEND path "\${prefix}/")
    endif()
    set(pc_${folder} ${path})
  endforeach()
  # From where the file lies, so that a moved prefix stays right.
  set(prefix ${CMAKE_INSTALL_PREFIX})
  if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "/$" "" up "${up}")
    set(prefix "\${pcfiledir}/${up}")
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/sagaz.pc.in
                 ${PROJECT_BINARY_DIR}/package/${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${name}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT libsagaz-dev)
endfunction()

# Called once, when every component is known.
function(sagaz_package)
  if(NOT SAGAZ_INSTALL)
    return()
  endif()
  get_property(components GLOBAL PROPERTY SAGAZ_COMPONENTS)
  set(config ${PROJECT_BINARY_DIR}/package/sagaz-config.cmake)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/sagaz-config.cmake.in ${config}
    INSTALL_DESTINATION ${SAGAZ_CMAKE_FOLDER} NO_SET_AND_CHECK_MACRO)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/sagaz-config-version.cmake
                                   COMPATIBILITY SameMinorVersion)
  install(FILES ${config} ${PROJECT_BINARY_DIR}/package/sagaz-config-version.cmake
          DESTINATION ${SAGAZ_CMAKE_FOLDER} COMPONENT libsagaz-dev)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/sagaz
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT libsagaz-dev FILES_MATCHING PATTERN "*.hpp")
endfunction()
