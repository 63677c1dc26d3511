{{/* What a service is called: release and service. Called with (dict "root" $ "service" "points"). */}}
{{- define "lifecircle.name" -}}
{{ .root.Release.Name }}-{{ .service }}
{{- end }}

{{/* Labels that select the pods of one part (serve, work, migrate) of one service. */}}
{{- define "lifecircle.selector" -}}
app.kubernetes.io/name: {{ .service }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .part }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "lifecircle.labels" -}}
{{ include "lifecircle.selector" . }}
app.kubernetes.io/part-of: lifecircle
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "lifecircle.image" -}}
{{ with .root.Values.image.registry }}{{ . }}/{{ end }}lifecircle-{{ .service }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* The defaults with what the service says otherwise, as YAML. */}}
{{- define "lifecircle.settings" -}}
{{ toYaml (mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy (index .root.Values.services .service))) }}
{{- end }}

{{/* Pod Security "restricted", whatever the namespace asks for. */}}
{{- define "lifecircle.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "lifecircle.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Not empty for a service that writes to the lake; every service reads it, by the addresses that snapshots give. */}}
{{- define "lifecircle.writesLake" -}}
{{- if has .service (list "ingest" "portrait" "recommend") }}yes{{ end }}
{{- end }}

{{/* The environment of a container: what the service's Config reads and nothing else, as a test sees to. (dict "root" $ "service" s "settings" … "needs" […]) */}}
{{- define "lifecircle.environment" -}}
{{- $root := .root }}
{{- $v := .root.Values }}
- {name: LISTEN, value: "0.0.0.0:50051"}
- {name: HEALTH_LISTEN, value: "0.0.0.0:50052"}
- {name: METRICS_LISTEN, value: "0.0.0.0:9464"}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $v.postgres.urlSecret }}, key: {{ .service }}}}
- {name: JWT_KEYS, value: /run/lifecircle/jwt/jwks.json}
- {name: SERVICE_TOKEN_FILE, value: /run/lifecircle/token/token.jwt}
{{- with $v.auth.oidc }}
{{- if .keys }}
- {name: OIDC_KEYS, value: {{ .keys | quote }}}
- {name: OIDC_ISSUER, value: {{ .issuer | quote }}}
- {name: OIDC_AUDIENCE, value: {{ .audience | quote }}}
{{- end }}
{{- end }}
{{- if eq $v.mesh.encryption "certificates" }}
- {name: TLS_CERTIFICATE, value: /run/lifecircle/tls/tls.crt}
- {name: TLS_KEY, value: /run/lifecircle/tls/tls.key}
- {name: TLS_AUTHORITIES, value: /run/lifecircle/tls/ca.crt}
{{- end }}
{{- range .settings.needs }}
- {name: PEER_{{ upper . }}, value: "dns:///{{ include "lifecircle.name" (dict "root" $root "service" .) }}:50051"}
{{- end }}
{{- if include "lifecircle.writesLake" . }}
- {name: LAKE_URL, value: {{ $v.lake.url | quote }}}
{{- end }}
{{- if has .service (list "ingest" "portrait") }}
- {name: LAKE_BUCKETS, value: {{ $v.lake.buckets | quote }}}
{{- end }}
{{- if has .service (list "contact" "ingest" "points" "portrait") }}
- {name: BUSINESS_TIMEZONE, value: {{ $v.timezone | quote }}}
{{- end }}
- {name: DRAIN_SECONDS, value: {{ .settings.drainSeconds | quote }}}
- {name: GRACE_SECONDS, value: {{ .settings.graceSeconds | quote }}}
- {name: LOG_LEVEL, value: {{ $v.telemetry.logLevel | quote }}}
{{- with $v.telemetry.otlpEndpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ $v.telemetry.sampling | quote }}}
{{- end }}
{{- if eq .service "ingest" }}
- {name: LANDING, value: /landing}
- {name: VAULT_KEYS, value: /run/lifecircle/vault/vault.json}
{{- end }}
{{- if eq .service "contact" }}
- {name: OCRM_OUT, value: /ocrm}
{{- with .settings.ocrm.pushSecret }}
- name: OCRM_PUSH
  valueFrom: {secretKeyRef: {name: {{ . }}, key: url}}
- {name: OCRM_KNOWN_HOSTS, value: /run/lifecircle/ocrm/known_hosts}
- {name: OCRM_KEY, value: /run/lifecircle/ocrm/key}
{{- end }}
{{- range $channel, $url := .settings.gateways }}
{{- if $url }}
- {name: GATEWAY_{{ upper $channel }}, value: {{ $url | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .service "admin" }}
- {name: SIGNING_KEYS, value: /run/lifecircle/signing/signing.json}
{{- end }}
{{- if eq .service "recommend" }}
- {name: SCRATCH, value: /tmp}
{{- end }}
{{- range $name, $value := .settings.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* Object storage's credentials, where the lake needs them. */}}
{{- define "lifecircle.environmentFrom" -}}
{{- if .root.Values.lake.s3Secret }}
- secretRef: {name: {{ .root.Values.lake.s3Secret }}}
{{- end }}
{{- end }}

{{- define "lifecircle.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: jwt, mountPath: /run/lifecircle/jwt, readOnly: true}
- {name: token, mountPath: /run/lifecircle/token, readOnly: true}
{{- if eq .root.Values.mesh.encryption "certificates" }}
- {name: tls, mountPath: /run/lifecircle/tls, readOnly: true}
{{- end }}
{{- if hasPrefix "file://" .root.Values.lake.url }}
- {name: lake, mountPath: {{ trimPrefix "file://" .root.Values.lake.url }}{{ if not (include "lifecircle.writesLake" .) }}, readOnly: true{{ end }}}
{{- end }}
{{- if eq .service "ingest" }}
- {name: landing, mountPath: /landing}
- {name: vault, mountPath: /run/lifecircle/vault, readOnly: true}
{{- end }}
{{- if eq .service "contact" }}
- {name: ocrm, mountPath: /ocrm}
{{- if .settings.ocrm.pushSecret }}
- {name: ocrm-push, mountPath: /run/lifecircle/ocrm, readOnly: true}
{{- end }}
{{- end }}
{{- if eq .service "admin" }}
- {name: signing, mountPath: /run/lifecircle/signing, readOnly: true}
{{- end }}
{{- end }}

{{- define "lifecircle.volumes" -}}
{{- $v := .root.Values }}
{{- $name := include "lifecircle.name" . }}
- {name: tmp, emptyDir: {sizeLimit: 20Gi}}
- {name: jwt, secret: {secretName: {{ $v.auth.keysSecret }}}}
- name: token
  secret: {secretName: {{ $v.auth.tokensSecret }}, items: [{key: {{ .service }}, path: token.jwt}]}
{{- if eq $v.mesh.encryption "certificates" }}
- {name: tls, secret: {secretName: {{ $name }}-tls}}
{{- end }}
{{- if hasPrefix "file://" $v.lake.url }}
- {name: lake, persistentVolumeClaim: {claimName: {{ .root.Release.Name }}-lake}}
{{- end }}
{{- if eq .service "ingest" }}
- {name: landing, persistentVolumeClaim: {claimName: {{ .settings.landing.claim | default (printf "%s-landing" $name) }}}}
- {name: vault, secret: {secretName: {{ $v.auth.vaultSecret }}}}
{{- end }}
{{- if eq .service "contact" }}
- {name: ocrm, persistentVolumeClaim: {claimName: {{ .settings.ocrm.claim | default (printf "%s-ocrm" $name) }}}}
{{- with .settings.ocrm.pushSecret }}
- {name: ocrm-push, secret: {secretName: {{ . }}}}
{{- end }}
{{- end }}
{{- if eq .service "admin" }}
- {name: signing, secret: {secretName: {{ $v.auth.signingSecret }}}}
{{- end }}
{{- end }}

{{/* What the pods of a service have in common. */}}
{{- define "lifecircle.podMeta" -}}
labels:
  {{- include "lifecircle.labels" . | nindent 2 }}
  {{- with .root.Values.mesh.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.mesh.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "lifecircle.podPlace" -}}
serviceAccountName: {{ include "lifecircle.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - {name: {{ . }}}
  {{- end }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "lifecircle.podSecurity" . | nindent 2 }}
{{- end }}
