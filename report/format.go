package report

import "io"

// Format is a form in which a Result can be written for people or programs. A new one is a file of this package and a
// row in Formats: "openloop report --format" and "--outputs" then know it.
type Format struct {
	Name   string // of --format and --outputs
	Ending string // of files, without the dot
	Write  func(w io.Writer, r *Result) error
}

// Formats are the forms that are made from a Result alone. GuideLLM's report, in which the Result is saved, is not one
// of them.
func Formats() []Format {
	return []Format{
		{"screen", "txt", WriteScreen},
		{"markdown", "md", WriteMarkdown},
		{"junit", "xml", WriteJUnit},
	}
}
