package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// metadataPatience is how long the server of a machine's or a container's own credentials may take for an answer; where
// there is none, often nothing answers at all.
const metadataPatience = 2 * time.Second

// errNoCredentials says that none of the usual places holds any.
var errNoCredentials = errors.New("no credentials were found")

// findCredentials finds credentials in the usual places, in the order of Amazon's own tools: variables, a web identity,
// the shared files, the container's, the machine's. The first that is there is used; if it fails, no other is tried,
// but for the last. minio-go's own chain does not tell why a place fails.
func findCredentials(ctx context.Context, client *http.Client) (*credentials.Credentials, error) {
	provider, err := chooseProvider(ctx, client)
	if err != nil {
		return nil, err
	}
	found := credentials.New(provider)
	value, err := found.GetWithContext(&credentials.CredContext{Client: client, Context: ctx})
	switch {
	case err != nil && usesMachine():
		return nil, errNoCredentials
	case err != nil:
		return nil, err
	case value.AccessKeyID == "" || value.SecretAccessKey == "":
		return nil, errNoCredentials
	}
	return found, nil
}

// chooseProvider finds the place that has credentials.
func chooseProvider(ctx context.Context, client *http.Client) (credentials.Provider, error) {
	id, secret := firstOf("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"), firstOf("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")
	switch {
	case id != "" && secret != "":
		return &credentials.EnvAWS{}, nil
	case id != "":
		return nil, errors.New("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not")
	case secret != "":
		return nil, errors.New("AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not")
	case os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return &credentials.IAM{Region: region(), Endpoint: firstOf("AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL")}, nil
	}
	shared := &credentials.FileAWSCredentials{}
	value, err := shared.RetrieveWithCredContext(&credentials.CredContext{Client: client, Context: ctx})
	profile := os.Getenv("AWS_PROFILE")
	switch {
	case err == nil && value.AccessKeyID != "":
		return shared, nil
	case profile != "" && err == nil:
		return nil, fmt.Errorf("the profile %q of AWS_PROFILE holds none", profile)
	case profile != "":
		return nil, fmt.Errorf("the profile %q of AWS_PROFILE: %w", profile, err)
	case err != nil && !isAbsent(err):
		return nil, fmt.Errorf("the shared files: %w", err)
	case usesMachine() && os.Getenv("AWS_EC2_METADATA_DISABLED") == "true":
		return nil, errNoCredentials
	}
	// These servers are on the machine itself: what is asked of them goes through no proxy.
	direct := &http.Client{Timeout: metadataPatience, Transport: &http.Transport{}}
	iam := &credentials.IAM{Client: direct}
	if usesMachine() {
		iam.Endpoint = os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	}
	return iam, nil
}

// isAbsent says whether there are no shared files, or no default profile in them.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) && os.Getenv("AWS_SHARED_CREDENTIALS_FILE") == "" ||
		strings.Contains(err.Error(), `section "default" does not exist`)
}

// usesMachine says whether the last place is left: the machine's own credentials, which may not be there.
func usesMachine() bool {
	return firstOf("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY") == ""
}

// region is the one that the variables name, "" for none.
func region() string { return firstOf("AWS_REGION", "AWS_DEFAULT_REGION") }

// firstOf is the value of the first variable that has one.
func firstOf(variables ...string) string {
	for _, name := range variables {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}
