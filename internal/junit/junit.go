// Package junit is the XML of JUnit's results, as CI systems read it.
package junit

import (
	"encoding/xml"
	"io"
)

// File is what a file holds.
type File struct {
	XMLName xml.Name `xml:"testsuites"`
	Name    string   `xml:"name,attr,omitempty"`
	Suites  []Suite  `xml:"testsuite"`
}

// Suite is a list of cases. Add counts them.
type Suite struct {
	Name       string      `xml:"name,attr"`
	Tests      int         `xml:"tests,attr"`
	Failures   int         `xml:"failures,attr"`
	Errors     int         `xml:"errors,attr"`
	Skipped    int         `xml:"skipped,attr"`
	Time       string      `xml:"time,attr,omitempty"` // seconds
	Timestamp  string      `xml:"timestamp,attr,omitempty"`
	Properties *Properties `xml:"properties"` // nil: none
	Cases      []Case      `xml:"testcase"`
}

// Properties are what is known of a suite.
type Properties struct {
	All []Property `xml:"property"`
}

// Property is something about a suite.
type Property struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// Case is one result. It passed where it has no problem.
type Case struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Time    string   `xml:"time,attr,omitempty"` // seconds
	Failure *Problem `xml:"failure"`
	Error   *Problem `xml:"error"`
	Skipped *Problem `xml:"skipped"`
	Output  string   `xml:"system-out,omitempty"`
}

// Problem is why a case did not pass.
type Problem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// SetProperty adds a property to a suite.
func (s *Suite) SetProperty(name, value string) {
	if s.Properties == nil {
		s.Properties = &Properties{}
	}
	s.Properties.All = append(s.Properties.All, Property{name, value})
}

// Add adds a case to a suite.
func (s *Suite) Add(c Case) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

// Write writes a file; name is that of all suites together, "" for none. The texts in it must hold no control
// characters: XML has no form for them.
func Write(w io.Writer, name string, suites ...Suite) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	out := xml.NewEncoder(w)
	out.Indent("", "  ")
	if err := out.Encode(File{Name: name, Suites: suites}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
