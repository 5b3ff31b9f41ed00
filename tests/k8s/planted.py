"""Mistakes that people make, each planted into the real objects: the checks must find it.

A mistake is a name, the check that has to find it, and a change of the objects.
"""

from manifests import find, of_kind

MISTAKES = []


def mistake(check):
    def add(function):
        MISTAKES.append((check, function))
        return function
    return add


def pod_of(documents, kind="Deployment", name="outbox-worker"):
    return find(documents, kind, name)["spec"]["template"]["spec"]


def relay_of(documents):
    return pod_of(documents)["containers"][0]


def policy(documents, name):
    return find(documents, "NetworkPolicy", name)["spec"]


def replace_in_config(documents, old, new):
    data = find(documents, "ConfigMap", "sagaz-config")["data"]
    assert old in data["sagaz.yaml"], old
    data["sagaz.yaml"] = data["sagaz.yaml"].replace(old, new)


@mistake("mounted_files")
def a_wrong_secret_key(documents):
    relay_of(documents)["env"][0]["value"] = "/run/secrets/sagaz-db-credentials/url"


@mistake("volumes")
def a_secret_that_nobody_makes(documents):
    pod_of(documents)["volumes"][1]["secret"]["secretName"] = "sagaz-database"


@mistake("selectors")
def a_selector_mismatch(documents):
    selector = find(documents, "Deployment", "outbox-worker")["spec"]["selector"]
    selector["matchLabels"]["app.kubernetes.io/component"] = "worker"


@mistake("selectors")
def a_service_without_pods(documents):
    find(documents, "Service", "outbox-worker")["spec"]["selector"] = {"app": "outbox-worker"}


@mistake("pod_security")
def a_privileged_container(documents):
    relay_of(documents)["securityContext"]["privileged"] = True


@mistake("resources")
def a_missing_limit(documents):
    del relay_of(documents)["resources"]["limits"]["memory"]


@mistake("configuration_is_read")
def an_unknown_key(documents):
    replace_in_config(documents, "drain_timeout: 20s", "drain_timout: 20s")


@mistake("configuration_is_read")
def a_number_without_its_unit(documents):
    replace_in_config(documents, "lease: 10s", "lease: 10")


@mistake("stopping")
def a_drain_longer_than_the_grace(documents):
    replace_in_config(documents, "drain_timeout: 20s", "drain_timeout: 30s")


@mistake("ports")
def a_relay_that_nobody_can_ask(documents):
    replace_in_config(documents, "listen: 0.0.0.0:9464", "listen: 127.0.0.1:9464")


@mistake("ports")
def a_probe_of_another_port(documents):
    relay_of(documents)["livenessProbe"]["httpGet"]["port"] = "http"


@mistake("versions")
def an_image_of_another_version(documents):
    relay_of(documents)["image"] = "ghcr.io/sagaz/sagaz:latest"


@mistake("versions")
def a_job_that_keeps_its_name(documents):
    of_kind(documents, "Job")[0]["metadata"]["name"] = "sagaz-migrate"


@mistake("guide")
def a_guide_of_another_version(documents):
    of_kind(documents, "Job")[0]["metadata"]["name"] = "sagaz-migrate-0-1-1"


@mistake("scaling")
def an_autoscaler_of_nothing(documents):
    scaler = find(documents, "HorizontalPodAutoscaler", "outbox-worker")
    scaler["spec"]["scaleTargetRef"]["name"] = "outbox-relay"


@mistake("scaling")
def a_budget_that_lets_nobody_go(documents):
    find(documents, "PodDisruptionBudget", "outbox-worker")["spec"]["minAvailable"] = 3


@mistake("scaling")
def a_target_that_multiplies(documents):
    scaler = find(documents, "HorizontalPodAutoscaler", "outbox-worker")
    scaler["spec"]["metrics"][0]["external"]["target"] = {"type": "Value", "value": "1000"}


@mistake("network")
def a_policy_without_the_database(documents):
    policy(documents, "outbox-worker")["egress"].pop(0)


@mistake("network")
def a_broker_in_another_namespace(documents):
    replace_in_config(documents, "kafka-bootstrap.kafka.svc", "kafka-bootstrap.streams.svc")


@mistake("network")
def no_default_deny(documents):
    documents.remove(find(documents, "NetworkPolicy", "default-deny"))


@mistake("accounts")
def an_account_that_is_not_there(documents):
    pod_of(documents)["serviceAccountName"] = "sagaz"


@mistake("accounts")
def a_token_in_the_pod(documents):
    pod_of(documents)["automountServiceAccountToken"] = True


@mistake("commands_are_known")
def a_flag_that_the_program_does_not_know(documents):
    pod_of(documents)["initContainers"][0]["command"] = ["sagaz", "wait", "--until", "store",
                                                         "--timeout", "5m"]


@mistake("waiting")
def a_wait_without_a_deadline(documents):
    pod_of(documents)["initContainers"][0]["command"] = ["sagaz", "wait", "--for", "store"]


@mistake("volumes")
def a_secret_in_the_environment(documents):
    relay_of(documents)["env"].append({"name": "SAGAZ_STORE_URL", "valueFrom": {
        "secretKeyRef": {"name": "sagaz-db-credentials", "key": "connection-string"}}})


@mistake("examples")
def an_example_that_overwrites(documents):
    secret = find(documents, "Secret", "sagaz-db-credentials-example")
    secret["metadata"]["name"] = "sagaz-db-credentials"


@mistake("namespaces")
def an_object_elsewhere(documents):
    find(documents, "Service", "outbox-worker")["metadata"]["namespace"] = "default"
