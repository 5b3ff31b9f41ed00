// Reads dashboards with Grafana's own types, strictly: a field that is unknown, missing or of
// another kind is an error.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	failed := len(os.Args) < 2
	for _, path := range os.Args[1:] {
		raw, err := os.ReadFile(path)
		var board dashboard.Dashboard
		if err == nil {
			err = board.UnmarshalJSONStrict(raw)
		}
		// It returns an empty list of problems as an error that says nothing.
		if err == nil || err.Error() == "" {
			err = board.Validate()
		}
		if err != nil && err.Error() != "" {
			fmt.Printf("%s:\n%s\n", path, err)
			failed = true
			continue
		}
		fmt.Printf("%s: %d panels as Grafana has them\n", path, len(board.Panels))
	}
	if failed {
		os.Exit(1)
	}
}
