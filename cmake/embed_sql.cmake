# Writes SQL files into one C++ source as raw strings, for the store of a backend:
# cmake -DOUT=... -DBACKEND=postgres -DFILES="a.sql;b.sql" -P.
set(text "#include \"stores/${BACKEND}/embedded.hpp\"\n\nnamespace sagaz::inline v0::${BACKEND} {\n")
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME_WE)
  string(REGEX REPLACE "^[0-9]+_" "" name "${name}")
  file(READ "${file}" sql)
  string(APPEND text "extern const std::string_view k_sql_${name} = R\"sagaz_sql(${sql})sagaz_sql\";\n")
endforeach()
string(APPEND text "}  // namespace sagaz::inline v0::${BACKEND}\n")
file(WRITE "${OUT}" "${text}")
