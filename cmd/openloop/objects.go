package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/shell"
	"github.com/openloop/openloop/report/bucket"
	"github.com/openloop/openloop/spec"
)

// parseDestination reads --output-dir where it is no folder; nil where it is one.
func parseDestination(dir string) (*bucket.Location, error) {
	scheme, _, ok := strings.Cut(dir, "://")
	if !ok || scheme == "" || strings.ContainsAny(scheme, `/\.`) {
		return nil, nil
	}
	if !bucket.Is(dir) {
		return nil, withHint(usageError("--output-dir: results go to a folder or to %sBUCKET/PREFIX, not to %s://",
			bucket.Scheme, scheme),
			"a store of another kind that speaks S3, too, is named by AWS_ENDPOINT_URL_S3")
	}
	to, err := bucket.Parse(dir)
	if err != nil {
		return nil, withHint(usageError("--output-dir %sBUCKET/PREFIX: %w", bucket.Scheme, err),
			"such as "+bucket.Scheme+"my-bucket/openloop; credentials and server are of the environment")
	}
	return &to, nil
}

// refuseObjectNames refuses files of a run that would be objects of their own.
func refuseObjectNames(o spec.Output) error {
	for flag, names := range map[string][]string{"outputs": o.Files, "records": {o.Records}, "hlog": {o.HLog}} {
		for _, name := range names {
			if bucket.Is(name) {
				return withHint(usageError("--%s: only a folder of results can be in a bucket", flag),
					"give the file's name alone, and the bucket with --output-dir "+bucket.Scheme+"BUCKET/PREFIX")
			}
		}
	}
	return nil
}

// refuseObjects refuses runs that are in a bucket where runs are to be read.
func refuseObjects(runs []string) error {
	for _, name := range runs {
		if bucket.Is(name) {
			return withHint(usageError("runs are read from folders and files, not from a bucket"),
				"copy it first: aws s3 cp --recursive "+shell.Word(name)+" DIR")
		}
	}
	return nil
}

// localRuns is where the folders of runs are made whose files then go to a bucket: where all are, or in the folder for
// temporary files where nothing can be written there, as in a container whose file system is read-only.
func localRuns() (string, error) {
	err := checkFolder(runsFolder)
	if err == nil {
		return runsFolder, nil
	}
	temporary := filepath.Join(os.TempDir(), runsFolder)
	if checkFolder(temporary) != nil {
		return "", withHint(
			usageError("--output-dir: results are written to a local folder before they are uploaded: %w", err),
			"let the working folder or "+os.TempDir()+" be written to")
	}
	return temporary, nil
}

// bucketTag tells apart the runs of many machines, of which none sees what another has begun: to look for what is there
// would need more rights, and not be certain.
func bucketTag() string {
	b := make([]byte, 3)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// openBucket checks that the results can be uploaded.
func (s *session) openBucket(ctx context.Context) error {
	to := s.files.bucket
	if to == nil {
		return nil
	}
	var err error
	if s.store, err = bucket.Open(ctx, *to); err != nil {
		return refusal(ctx, fmt.Errorf("--output-dir: %w", err))
	}
	return nil
}

// checkBucket says whether results can be written where they are to go, if that is a bucket. Its error is an
// interruption, or something wrong with what was asked for.
func (c *check) checkBucket(ctx context.Context) error {
	to, err := parseDestination(c.spec.Output.Dir)
	if to == nil || err != nil {
		return err
	}
	_, err = bucket.Open(ctx, *to)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		c.fail("results", err)
	default:
		c.add("results", checkOK, "can be written to %s", to)
	}
	return nil
}

// beginUpload says where the results are if someone ends the program before they are uploaded.
func (s *session) beginUpload(ctx context.Context) {
	if s.store != nil {
		setLastWords(ctx, "the upload has not ended; what was saved is in "+s.files.dir)
	}
}

// upload uploads the results, whatever became of the run, and returns with which error it ends: failed is that of the
// run.
func (s *session) upload(ctx context.Context, failed error) error {
	if s.store == nil {
		return failed
	}
	folder := filepath.Base(s.files.dir)
	to := s.store.Folder(folder)
	files := s.files.all()
	bytes := int64(0)
	for _, f := range files {
		bytes += f.Size
	}
	stop := context.AfterFunc(ctx, func() {
		s.say("uploading to %s for %v more at most", to, bucket.AfterEnd)
	})
	defer stop()
	done, err := s.store.Upload(ctx, folder, files)
	if err == nil {
		setLastWords(ctx, "")
		s.say("uploaded %s, %s, to %s/", num.Count(len(files), "file"), sizeText(bytes), to)
		return failed
	}
	local := s.files.dir
	if s.files.rescue != "" {
		local = s.files.rescue
	}
	err = fmt.Errorf("%d of %d files were uploaded: %w; all are in %s", done, len(files), err, local)
	again := fmt.Sprintf("aws s3 cp --recursive %s %s/", shell.Word(local), shell.Word(to.String()))
	var found *bucket.Error
	if errors.As(err, &found) && found.Hint != "" {
		again = found.Hint + "; then: " + again
	}
	// The results are not where they were to be: that is a failure, whatever they say.
	return &exitError{exitFailed, errors.Join(withHint(err, again), failed)}
}

// all are the files of the run's folder as they are now, and of that for what could not be saved there.
func (f *resultFiles) all() []bucket.File {
	var all []bucket.File
	taken := map[string]bool{}
	for _, dir := range []string{f.dir, f.rescue} {
		if dir == "" {
			continue
		}
		_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // a folder that has become unusable: its files are in the other
			}
			info, err := d.Info()
			key, keyErr := filepath.Rel(dir, name)
			if err != nil || keyErr != nil || taken[key] {
				return nil
			}
			taken[key] = true
			all = append(all, bucket.File{Name: name, Key: filepath.ToSlash(key), Size: info.Size()})
			return nil
		})
	}
	return all
}

// sizeText is a number of bytes for people.
func sizeText(bytes int64) string {
	const kilo, mega = 1_000, 1_000_000
	if bytes < mega {
		return num.Three(float64(bytes)/kilo) + " kB"
	}
	return num.Three(float64(bytes)/mega) + " MB"
}

// lastWords are what is said when a second signal ends the program at once; "" for nothing.
type lastWords struct{ text atomic.Pointer[string] }

type lastWordsKey struct{}

// setLastWords sets them for the command of a context.
func setLastWords(ctx context.Context, text string) {
	if words, ok := ctx.Value(lastWordsKey{}).(*lastWords); ok {
		words.text.Store(&text)
	}
}
