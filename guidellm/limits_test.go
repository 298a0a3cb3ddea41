package guidellm

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"github.com/openloop/openloop/internal/race"
)

// spaces has no end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	return copy(p, strings.Repeat(" ", len(p))), nil
}

// What gzip makes next to nothing of is no report: it is refused before it takes the memory.
func TestReadingHasALimit(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector needs minutes for 300 MB")
	}
	read, write := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(write, gzip.BestSpeed)
		_, err := io.Copy(z, io.MultiReader(strings.NewReader(`{"benchmarks": `), io.LimitReader(spaces{}, 300<<20)))
		write.CloseWithError(err)
	}()
	_, err := Read(read)
	read.Close()
	if err == nil || !strings.Contains(err.Error(), "larger than 256 MB and than 200 times its size, the limit") {
		t.Error(err)
	}
}
