"""A telephone of PJSUA2 without a sound card, steered by lines of JSON.

In come ``{"do": "call", "uri": …}``, ``{"do": "report"}`` and ``{"do": "hangup"}``; out go
``{"event": …}``.  A call that comes in is answered.  It speaks PCMA alone, on the address ``host``,
and uses ICE, unless it has an ``account``: then it registers that at the account's ``proxy``.
"""

import json
import os
import selectors
import sys

import pjsua2

# PJSUA writes to the standard output before it can be told not to.
OUT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


TRANSPORTS = {"udp": pjsua2.PJSIP_TRANSPORT_UDP, "tcp": pjsua2.PJSIP_TRANSPORT_TCP}


def tell(event: str, **values: object) -> None:
    OUT.write(json.dumps({"event": event, **values}) + "\n")
    OUT.flush()


class Call(pjsua2.Call):  # type: ignore[misc]
    def onCallState(self, _: object) -> None:  # noqa: N802 - PJSUA2's name
        told = self.getInfo()
        tell("call", state=told.stateText, status=int(told.lastStatusCode))

    def onCallMediaState(self, _: object) -> None:  # noqa: N802
        endpoint = pjsua2.Endpoint.instance()
        media = self.getAudioMedia(-1)
        # What is captured goes out: the null device's silence, a packet each 20 ms.
        endpoint.audDevManager().getCaptureDevMedia().startTransmit(media)
        media.startTransmit(endpoint.audDevManager().getPlaybackDevMedia())
        tell("media", state=self.getMedTransportInfo(0).remoteRtpName)

    def onCallMediaTransportState(self, told: pjsua2.OnCallMediaTransportStateParam) -> None:  # noqa: N802
        tell("transport", state=int(told.state), status=int(told.status))


class Account(pjsua2.Account):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def onRegState(self, told: pjsua2.OnRegStateParam) -> None:  # noqa: N802
        tell("registration", status=int(told.code))

    def onIncomingCall(self, told: pjsua2.OnIncomingCallParam) -> None:  # noqa: N802
        call = Call(self, told.callId)
        self.calls.append(call)
        parameters = pjsua2.CallOpParam()
        parameters.statusCode = 200
        call.answer(parameters)


def obey(phone: Account, command: dict[str, str]) -> None:
    if command["do"] == "call":
        call = Call(phone)
        phone.calls.append(call)
        call.makeCall(command["uri"], pjsua2.CallOpParam(True))
    elif command["do"] == "hangup":
        phone.calls[-1].hangup(pjsua2.CallOpParam())
    else:
        statistics = phone.calls[-1].getStreamStat(0).rtcp
        tell("report", received=int(statistics.rxStat.pkt), lost=int(statistics.rxStat.loss))


def configured(uri: str, host: str, account: dict[str, str]) -> "pjsua2.AccountConfig":
    configuration = pjsua2.AccountConfig()
    configuration.mediaConfig.transportConfig.boundAddress = host
    configuration.mediaConfig.srtpUse = pjsua2.PJMEDIA_SRTP_DISABLED
    if not account:
        configuration.idUri = uri
        configuration.natConfig.iceEnabled = True
        configuration.natConfig.iceAggressiveNomination = False
        configuration.natConfig.iceAlwaysUpdate = False
        return configuration
    user, domain = account["user"], account["domain"]
    parameter = f";transport={account['transport']}"
    configuration.idUri = f"sip:{user}@{domain}"
    configuration.regConfig.registrarUri = f"sip:{domain}{parameter}"
    configuration.sipConfig.proxies.append(f"sip:{account['proxy']}{parameter};lr")
    configuration.sipConfig.authCreds.append(
        pjsua2.AuthCredInfo("digest", "*", user, 0, account["password"])
    )
    # RFC 5626, on connections: it says nothing of it over UDP.
    configuration.natConfig.sipOutboundUse = 1
    configuration.natConfig.sipOutboundInstanceId = account["instance"]
    return configuration


def main() -> None:
    options = json.loads(sys.argv[1])
    endpoint = pjsua2.Endpoint()
    endpoint.libCreate()
    configuration = pjsua2.EpConfig()
    configuration.logConfig.level = options.get("log", 3)
    configuration.logConfig.consoleLevel = 0
    configuration.logConfig.filename = options["log_file"]
    configuration.uaConfig.threadCnt = 0
    configuration.uaConfig.mainThreadOnly = True
    configuration.medConfig.noVad = True
    endpoint.libInit(configuration)
    transport = pjsua2.TransportConfig()
    transport.boundAddress = options["host"]
    account = options.get("account", {})
    kind = TRANSPORTS[account.get("transport", "udp")]
    identifier = endpoint.transportCreate(kind, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMA") else 0)
    local = endpoint.transportGetInfo(identifier).localName
    phone = Account()
    phone.create(configured(f"sip:phone@{local}", options["host"], account))
    tell("ready", address=local)

    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        begun = b""
        while True:
            endpoint.libHandleEvents(10)
            if not selector.select(0):
                continue
            data = os.read(0, 1 << 16)
            if not data:
                break
            *complete, begun = (begun + data).split(b"\n")
            for line in complete:
                obey(phone, json.loads(line))
    phone.calls.clear()
    phone.shutdown()
    endpoint.libDestroy()


if __name__ == "__main__":
    main()
