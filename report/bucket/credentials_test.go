package bucket

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each place that credentials are found in, and what is said where it fails.
func TestCredentials(t *testing.T) {
	var seen http.Header // of the last request for the bucket
	_, fake := newFake(t)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		fake.ServeHTTP(w, r)
	}))
	defer store.Close()
	given := fmt.Sprintf(`{"Code": "Success", "AccessKeyId": %q, "SecretAccessKey": %q, "Token": %q, "Expiration": %q}`,
		canaryID, canarySecret, canaryToken, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asksForRole := r.Form.Get("Action") == "AssumeRoleWithWebIdentity"
		switch {
		case asksForRole && r.Form.Get("WebIdentityToken") != "web-token-0123456789":
			w.WriteHeader(http.StatusForbidden) // it repeats what it was sent
			fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>`+
				"<Code>Denied</Code><Message>no: %s</Message></Error></ErrorResponse>",
				r.Form.Get("WebIdentityToken"))
		case asksForRole:
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`+
				"<AssumeRoleWithWebIdentityResult><Credentials>"+
				"<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken>"+
				"<Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"+
				"</AssumeRoleWithWebIdentityResponse>", canaryID, canarySecret, canaryToken,
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		case r.URL.Path == "/latest/api/token":
			_, _ = io.WriteString(w, "imds")
		case r.URL.Path == "/latest/meta-data/iam/security-credentials/":
			_, _ = io.WriteString(w, "role")
		case r.URL.Path == "/container", strings.HasSuffix(r.URL.Path, "/role"):
			_, _ = io.WriteString(w, given)
		default:
			http.NotFound(w, r)
		}
	}))
	defer service.Close()
	nothing := httptest.NewServer(http.NotFoundHandler())
	nothing.Close()

	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := fmt.Sprintf("aws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", canaryID,
		canarySecret, canaryToken)
	shared := file("credentials", "[default]\n"+pair)
	profiles := file("profiles", "[team]\n"+pair)
	half := file("half", "[default]\naws_access_key_id = "+canaryID+"\n")
	broken := file("broken", "[default\n"+pair)
	web, wrongWeb := file("web", "web-token-0123456789"), file("wrong-web", "wrong-token-0123456789")

	for name, c := range map[string]struct {
		env  map[string]string
		text string // of the error; "": none
	}{
		"variables": {env: map[string]string{"AWS_ACCESS_KEY_ID": canaryID, "AWS_SECRET_ACCESS_KEY": canarySecret,
			"AWS_SESSION_TOKEN": canaryToken}},
		"no secret":   {map[string]string{"AWS_ACCESS_KEY_ID": canaryID}, "AWS_SECRET_ACCESS_KEY is not"},
		"no key":      {map[string]string{"AWS_SECRET_ACCESS_KEY": canarySecret}, "AWS_ACCESS_KEY_ID is not"},
		"shared file": {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": shared}},
		"profile":     {env: map[string]string{"AWS_SHARED_CREDENTIALS_FILE": profiles, "AWS_PROFILE": "team"}},
		"no such profile": {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": shared, "AWS_PROFILE": "other"},
			`"other"`},
		"no such file":   {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": dir + "/none"}, "no such file"},
		"half a profile": {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": half}, "must both be set"},
		"a broken file":  {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": broken}, "shared files"},
		"web identity": {env: map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": web,
			"AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ENDPOINT_URL_STS": service.URL}},
		"a refused web identity": {map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": wrongWeb,
			"AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ENDPOINT_URL_STS": service.URL}, "no: "},
		"no web identity": {map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": dir + "/none", "AWS_ROLE_ARN": "r",
			"AWS_ENDPOINT_URL_STS": service.URL}, "no such file"},
		"container": {env: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": service.URL + "/container"}},
		"a container without": {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": service.URL + "/none"},
			"404"},
		"machine": {env: map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.URL}},
		"no machine": {map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": nothing.URL},
			"no credentials were found"},
		"nothing": {map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}, "no credentials were found"},
	} {
		t.Run(name, func(t *testing.T) {
			setEnv(t, store.URL)
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
				t.Setenv(name, "")
			}
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			seen = nil
			_, err := Open(t.Context(), Location{"results", ""})
			if c.text != "" {
				checkError(t, err, c.text, "AWS_SECRET_ACCESS_KEY")
				if strings.Contains(err.Error(), "token-0123456789") {
					t.Errorf("a token is in %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(seen.Get("Authorization"), canaryID+"/") ||
				seen.Get("X-Amz-Security-Token") != canaryToken {
				t.Errorf("the bucket was asked with %v", seen)
			}
		})
	}
}
