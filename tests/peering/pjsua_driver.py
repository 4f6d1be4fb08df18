"""A telephone of PJSUA2 without a sound card, steered by lines of JSON.

In come ``{"do": "call", "uri": …}`` and ``{"do": "report"}``; out go ``{"event": …}``.  A call
that comes in is answered.  It speaks PCMA alone, and uses ICE, on the address ``host``.
"""

import json
import os
import selectors
import sys

import pjsua2

# PJSUA writes to the standard output before it can be told not to.
OUT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def tell(event: str, **values: object) -> None:
    OUT.write(json.dumps({"event": event, **values}) + "\n")
    OUT.flush()


class Call(pjsua2.Call):  # type: ignore[misc]
    def onCallState(self, _: object) -> None:  # noqa: N802 - PJSUA2's name
        tell("call", state=self.getInfo().stateText)

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
    else:
        statistics = phone.calls[-1].getStreamStat(0).rtcp
        tell("report", received=int(statistics.rxStat.pkt), lost=int(statistics.rxStat.loss))


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
    identifier = endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMA") else 0)
    account = pjsua2.AccountConfig()
    local = endpoint.transportGetInfo(identifier).localName
    account.idUri = f"sip:phone@{local}"
    account.natConfig.iceEnabled = True
    account.natConfig.iceAggressiveNomination = False
    account.natConfig.iceAlwaysUpdate = False
    account.mediaConfig.transportConfig.boundAddress = options["host"]
    account.mediaConfig.srtpUse = pjsua2.PJMEDIA_SRTP_DISABLED
    phone = Account()
    phone.create(account)
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
