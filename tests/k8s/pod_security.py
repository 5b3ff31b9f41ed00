"""Pod Security Standard "restricted", rule by rule, and for each rule ways of breaking it.

A rule takes a pod's spec and gives what is against it. `BREAKS` are changes of a real pod of ours,
each of which its rule, and so the check, must find: no fixture that could age.
"""

from manifests import containers

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
           "projected", "secret"}
SAFE_SYSCTLS = {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
                "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
                "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
                "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
                "net.ipv4.tcp_keepalive_probes"}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t",
                 "container_engine_t"}
RULES, BREAKS = {}, []


def rule(function):
    RULES[function.__name__] = function
    return function


def breaks(name):
    """Registers a change (of pod, first container) that rule `name` must find."""
    def add(function):
        BREAKS.append((name, function))
        return function
    return add


def contexts(pod):
    """(what, security context) of the pod, then of each container."""
    yield "the pod", pod.get("securityContext", {})
    for container in containers(pod):
        yield container["name"], container.get("securityContext", {})


def effective(pod, key):
    """(container, value): a container's own, else the pod's."""
    for container in containers(pod):
        value = container.get("securityContext", {}).get(key)
        yield container["name"], pod.get("securityContext", {}).get(key) if value is None else value


@rule
def host_namespaces(pod):
    return [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]


@rule
def host_process(pod):
    return [what for what, context in contexts(pod)
            if context.get("windowsOptions", {}).get("hostProcess")]


@rule
def privileged(pod):
    return [what for what, context in contexts(pod) if context.get("privileged")]


@rule
def capabilities(pod):
    found = []
    for container in containers(pod):
        have = container.get("securityContext", {}).get("capabilities", {})
        if "ALL" not in have.get("drop", []):
            found.append(f"{container['name']} does not drop ALL")
        if set(have.get("add", [])) - {"NET_BIND_SERVICE"}:
            found.append(f"{container['name']} adds {have['add']}")
    return found


@rule
def volume_types(pod):
    return [volume["name"] for volume in pod.get("volumes", [])
            if not set(volume) - {"name"} <= VOLUMES]


@rule
def host_ports(pod):
    return [container["name"] for container in containers(pod)
            for port in container.get("ports", []) if port.get("hostPort")]


@rule
def host_in_probes(pod):
    return [container["name"] for container in containers(pod)
            for key in ("startupProbe", "livenessProbe", "readinessProbe")
            for how in ("httpGet", "tcpSocket") if container.get(key, {}).get(how, {}).get("host")]


@rule
def apparmor(pod):
    return [what for what, context in contexts(pod)
            if context.get("appArmorProfile", {}).get("type") == "Unconfined"]


@rule
def selinux(pod):
    return [what for what, context in contexts(pod)
            if context.get("seLinuxOptions", {}).get("type") not in SELINUX_TYPES
            or {"user", "role"} & set(context.get("seLinuxOptions", {}))]


@rule
def proc_mount(pod):
    return [what for what, context in contexts(pod)
            if context.get("procMount", "Default") != "Default"]


@rule
def seccomp(pod):
    return [name for name, value in effective(pod, "seccompProfile")
            if (value or {}).get("type") not in ("RuntimeDefault", "Localhost")]


@rule
def sysctls(pod):
    return [entry["name"] for entry in pod.get("securityContext", {}).get("sysctls", [])
            if entry["name"] not in SAFE_SYSCTLS]


@rule
def escalation(pod):
    return [container["name"] for container in containers(pod)
            if container.get("securityContext", {}).get("allowPrivilegeEscalation") is not False]


@rule
def non_root(pod):
    return [name for name, value in effective(pod, "runAsNonRoot") if value is not True]


@rule
def user(pod):
    return [what for what, context in contexts(pod) if context.get("runAsUser") == 0]


# Not in the standard, and kept all the same.

@rule
def read_only_root(pod):
    return [container["name"] for container in containers(pod)
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True]


@rule
def user_is_said(pod):
    return [name for key in ("runAsUser", "runAsGroup") for name, value in effective(pod, key)
            if not value]


def check(pod):
    """(rule, where) of everything that is against a rule."""
    return [(name, where) for name, function in RULES.items() for where in function(pod)]


# --------------------------------------------------------------------------------- ways to break it

def own(container):
    return container.setdefault("securityContext", {})


@breaks("host_namespaces")
def share_the_network(pod, _):
    pod["hostNetwork"] = True


@breaks("host_namespaces")
def share_the_processes(pod, _):
    pod["hostPID"] = True


@breaks("host_namespaces")
def share_memory(pod, _):
    pod["hostIPC"] = True


@breaks("host_process")
def be_a_process_of_the_host(_, container):
    own(container)["windowsOptions"] = {"hostProcess": True}


@breaks("privileged")
def be_privileged(_, container):
    own(container)["privileged"] = True


@breaks("capabilities")
def drop_nothing(_, container):
    own(container).pop("capabilities")


@breaks("capabilities")
def add_one(_, container):
    own(container)["capabilities"] = {"drop": ["ALL"], "add": ["SYS_PTRACE"]}


@breaks("volume_types")
def see_the_host(pod, _):
    pod.setdefault("volumes", []).append({"name": "host", "hostPath": {"path": "/"}})


@breaks("host_ports")
def take_a_port_of_the_host(_, container):
    container["ports"] = [{"containerPort": 9464, "hostPort": 9464}]


@breaks("host_in_probes")
def probe_somebody_else(_, container):
    container["livenessProbe"] = {"httpGet": {"path": "/", "port": 80, "host": "10.0.0.1"}}


@breaks("apparmor")
def leave_apparmor(_, container):
    own(container)["appArmorProfile"] = {"type": "Unconfined"}


@breaks("selinux")
def take_a_type(pod, _):
    pod["securityContext"]["seLinuxOptions"] = {"type": "spc_t"}


@breaks("proc_mount")
def see_all_of_proc(_, container):
    own(container)["procMount"] = "Unmasked"


@breaks("seccomp")
def leave_seccomp_out(pod, _):
    pod["securityContext"].pop("seccompProfile")


@breaks("seccomp")
def be_unconfined(_, container):
    own(container)["seccompProfile"] = {"type": "Unconfined"}


@breaks("sysctls")
def set_the_kernel(pod, _):
    pod["securityContext"]["sysctls"] = [{"name": "kernel.msgmax", "value": "65536"}]


@breaks("escalation")
def may_escalate(_, container):
    own(container).pop("allowPrivilegeEscalation")


@breaks("non_root")
def may_be_root(_, container):
    own(container)["runAsNonRoot"] = False


@breaks("user")
def be_root(_, container):
    own(container)["runAsUser"] = 0


@breaks("read_only_root")
def write_the_root(_, container):
    own(container).pop("readOnlyRootFilesystem")


@breaks("user_is_said")
def leave_the_user_to_the_image(pod, _):
    pod["securityContext"].pop("runAsUser")
