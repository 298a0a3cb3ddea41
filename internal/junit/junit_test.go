package junit

import (
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	s := Suite{Name: "a"}
	s.SetProperty("model", "<m>")
	s.Add(Case{Class: "c", Name: "passed", Output: "so"})
	s.Add(Case{Class: "c", Name: "failed", Failure: &Problem{Message: "5 > 4", Type: "FAIL", Text: "more"}})
	s.Add(Case{Class: "c", Name: "unknown", Time: "1.5", Error: &Problem{Message: "why"}})
	s.Add(Case{Class: "c", Name: "left out", Skipped: &Problem{Message: "none"}})
	var b strings.Builder
	if err := Write(&b, "all", s, Suite{Name: "empty"}); err != nil {
		t.Fatal(err)
	}
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="all">
  <testsuite name="a" tests="4" failures="1" errors="1" skipped="1">
    <properties>
      <property name="model" value="&lt;m&gt;"></property>
    </properties>
    <testcase classname="c" name="passed">
      <system-out>so</system-out>
    </testcase>
    <testcase classname="c" name="failed">
      <failure message="5 &gt; 4" type="FAIL">more</failure>
    </testcase>
    <testcase classname="c" name="unknown" time="1.5">
      <error message="why"></error>
    </testcase>
    <testcase classname="c" name="left out">
      <skipped message="none"></skipped>
    </testcase>
  </testsuite>
  <testsuite name="empty" tests="0" failures="0" errors="0" skipped="0"></testsuite>
</testsuites>
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
