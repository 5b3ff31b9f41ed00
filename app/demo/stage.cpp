#include "app/demo/stage.hpp"

#include "app/errors.hpp"

#include <cstdlib>

namespace sagaz::inline v0::app::demo {

std::filesystem::path folder_for(const std::string& name, std::string_view verb) {
    std::error_code trouble;
    std::filesystem::path folder{name};
    if (name.empty()) {
        const auto shape = "sagaz-" + std::string{verb} + "-XXXXXX";
        std::string made = std::filesystem::temp_directory_path(trouble) / shape;
        if (::mkdtemp(made.data()) != nullptr) return made;
        folder = made;
    } else {
        std::filesystem::create_directories(folder, trouble);
        if (!trouble) return std::filesystem::absolute(folder);
    }
    refuse("demo_folder", "cannot make a folder as " + folder.string(),
           "give --folder a place where files can be written");
}

Stage embedded_stage(const std::filesystem::path& folder) {
    return {.folder = folder,
            .shop = {.url = "sqlite:" + (folder / "shop.db").string()},
            .warehouse = {.url = "sqlite:" + (folder / "warehouse.db").string()}};
}

}  // namespace sagaz::inline v0::app::demo
