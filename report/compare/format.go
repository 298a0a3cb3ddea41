package compare

import (
	"encoding/json"
	"io"
)

// Format is a form in which a Comparison can be written.
type Format struct {
	Name   string
	Ending string // of files, without the dot
	Write  func(w io.Writer, c *Comparison) error
}

// Formats are the forms, the screen's first.
func Formats() []Format {
	return []Format{
		{"screen", "txt", WriteScreen},
		{"markdown", "md", WriteMarkdown},
		{"junit", "xml", WriteJUnit},
		{"json", "json", WriteJSON},
		{"html", "html", WritePage},
	}
}

// WriteJSON writes the comparison as JSON, all of it.
func WriteJSON(w io.Writer, c *Comparison) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(c)
}
