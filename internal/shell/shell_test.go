package shell

import "testing"

func TestWord(t *testing.T) {
	for word, want := range map[string]string{
		"--rate=5": "--rate=5", "http://h:8000/v1": "http://h:8000/v1", "": "''", "a b": "'a b'", "it's": `'it'\''s'`,
		"ttft:p95<1s": "'ttft:p95<1s'", "$HOME": "'$HOME'", "~": "'~'", "{dir}": "'{dir}'", "a\nb": "'a\nb'",
		"é": "'é'",
	} {
		if got := Word(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	if got, want := Line([]string{"openloop", "run", "--label", "a b"}), "openloop run --label 'a b'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
