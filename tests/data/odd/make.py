"""Small graphs with odd structure, made by hand: subgraphs, local functions, sequences, masks, formats.

    python make.py        (needs onnx, numpy and onnxruntime)

writes NAME.onnx and NAME.npz beside itself, and `expected.json`: the loss that onnxruntime computes.
"""
import json, os
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto as T, helper as h, numpy_helper as nh

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(0)
F = T.FLOAT
expected = {}


def vi(name, kind, shape):
    return h.make_tensor_value_info(name, kind, shape)


def init(name, array):
    return nh.from_array(np.asarray(array), name)


def case(name, nodes, inputs, inits=(), outs=('loss',), opset=17, functions=(), extra_imports=(), sparse=(), flags=(), ir=9, run=True):
    typed = [vi(k, h.np_dtype_to_tensor_dtype(a.dtype), a.shape) for k, a in inputs.items()]
    g = h.make_graph(nodes, name, typed, [vi(o, F, None) for o in outs], list(inits))
    for s in sparse:
        g.sparse_initializer.append(s)
    imports = [h.make_opsetid('', opset)] + [h.make_opsetid(d, v) for d, v in extra_imports]
    m = h.make_model(g, opset_imports=imports, functions=list(functions), ir_version=ir)
    onnx.save(m, f'{HERE}/{name}.onnx')
    np.savez(f'{HERE}/{name}.npz', **inputs)
    expected[name] = {'flags': list(flags), 'loss': None}
    if run:
        try:
            options = ort.SessionOptions()
            options.log_severity_level = 4
            loss = ort.InferenceSession(f'{HERE}/{name}.onnx', options).run(None, inputs)[0]
            expected[name]['loss'] = float(loss)
        except Exception:
            pass  # a form that onnxruntime doesn't take


n=h.make_node
r=lambda *s: rng.standard_normal(s).astype(np.float32)
def loss(x): return n('ReduceMean',[x],['loss'],keepdims=0)
# If with a condition from shapes, names reused in both branches
def branch(name,op,w):
    return h.make_graph([n(op,['x',name+'_w'],['t']),n('Relu',['t'],[name+'_o'])],name,[],[vi(name+'_o',F,None)],[init(name+'_w',w)])
case('if_shape',[n('Shape',['x'],['s']),n('Gather',['s','zero'],['b']),n('Greater',['b','one'],['c']),
  n('If',['c'],['y'],then_branch=branch('th','MatMul',r(4,3)),else_branch=branch('el','Add',r(4))),loss('y')],{'x':r(2,4)},[init('zero',np.int64(0)),init('one',np.int64(1))])
case('if_else',[n('Shape',['x'],['s']),n('Gather',['s','zero'],['b']),n('Greater',['b','one'],['c']),
  n('If',['c'],['y'],then_branch=branch('th','MatMul',r(4,3)),else_branch=branch('el','Add',r(4))),loss('y')],{'x':r(1,4)},[init('zero',np.int64(0)),init('one',np.int64(1))])
# data dependent If
case('if_data',[n('ReduceSum',['x'],['s'],keepdims=0),n('Greater',['s','z'],['c']),
  n('If',['c'],['y'],then_branch=branch('th','MatMul',r(4,3)),else_branch=branch('el','MatMul',r(4,3))),loss('y')],{'x':r(1,4)},[init('z',np.float32(0))])
# Loop
body=h.make_graph([n('MatMul',['h_in','W'],['hw']),n('Add',['hw','x'],['pre']),n('Tanh',['pre'],['h_out']),n('Identity',['cin'],['cout']),n('Identity',['h_out'],['scan'])],'body',
  [vi('i',T.INT64,[]),vi('cin',T.BOOL,[]),vi('h_in',F,[2,3])],[vi('cout',T.BOOL,[]),vi('h_out',F,[2,3]),vi('scan',F,[2,3])])
case('loop',[n('Loop',['M','','h0'],['h','all'],body=body),n('ReduceSum',['all'],['sa'],keepdims=0),n('ReduceMean',['h'],['sh'],keepdims=0),n('Add',['sa','sh'],['loss'])],{'x':r(2,3),'h0':r(2,3)},[init('M',np.int64(5)),init('W',r(3,3))])
# Scan
sb=h.make_graph([n('MatMul',['s','W2'],['sw']),n('Add',['sw','xi'],['p']),n('Sigmoid',['p'],['so']),n('Mul',['so','so'],['o'])],'sb',[vi('s',F,[3]),vi('xi',F,[3])],[vi('so',F,[3]),vi('o',F,[3])])
case('scan',[n('Scan',['h0','x'],['hl','ys'],body=sb,num_scan_inputs=1,scan_input_directions=[1]),n('ReduceSum',['ys'],['a'],keepdims=0),n('ReduceSum',['hl'],['b'],keepdims=0),n('Mul',['a','b'],['loss'])],{'x':r(4,3),'h0':r(3)},[init('W2',r(3,3))])
# functions with attributes, nested, and subgraph
f1=h.make_function('my','Act',['x'],['y'],[n('LeakyRelu',['x'],['t'])],[h.make_opsetid('',17)],['alpha'])
f1.node[0].attribute.append(h.make_attribute_ref_name(h.make_attribute('alpha',0.1),'alpha')) if hasattr(h,'make_attribute_ref_name') else None
f1.node.append(n('Add',['t','x'],['y']))
f2=h.make_function('my','Two',['x','w'],['z'],[n('Act',['x'],['a'],domain='my',alpha=0.25),n('MatMul',['a','w'],['z'])],[h.make_opsetid('',17),h.make_opsetid('my',1)])
case('functions',[n('Two',['x','w'],['y'],domain='my'),n('Two',['y','w'],['q'],domain='my'),loss('q')],{'x':r(2,3)},[init('w',r(3,3))],functions=[f1,f2],extra_imports=[('my',1)])
# sparse initializer
val=init('sw',np.array([1.5,-2,0.5],np.float32)); idx=init('swi',np.array([0,4,8],np.int64))
case('sparse',[n('MatMul',['x','sw'],['y']),loss('y')],{'x':r(2,3)},sparse=[h.make_sparse_tensor(val,idx,[3,3])])
# data-dependent: topk values, sort, argmax used as index
case('topk',[n('MatMul',['x','w'],['y']),n('TopK',['y','k'],['v','']),loss('v')],{'x':r(3,4)},[init('w',r(4,7)),init('k',np.array([3],np.int64))])
case('einsum',[n('Einsum',['x','w','b'],['y'],equation='bij,jk,k->bik'),loss('y')],{'x':r(2,3,4)},[init('w',r(4,5)),init('b',r(5))])
case('einsum2',[n('Einsum',['x','w'],['y'],equation='...ij,...jk->...ik'),n('Einsum',['y'],['z'],equation='...ii'),loss('z')],{'x':r(2,3,4,3)},[init('w',r(2,1,3,4))])
case('einsum3',[n('Einsum',['x','w'],['y'],equation='i j , k l -> l'),loss('y')],{'x':r(2,3)},[init('w',r(4,5))])
# grid sample with affine grid computed from parameters? grid known
case('grid',[n('Mul',['x0','w'],['x']),n('GridSample',['x','g'],['y'],mode='bilinear',padding_mode='reflection'),n('Mul',['y','y'],['y2']),loss('y2')],{'x0':r(1,2,5,6),'g':(rng.uniform(-1.6,1.6,(1,3,4,2))).astype(np.float32)},[init('w',r(1,2,5,6))],opset=16,flags=('--params','g'))
case('grid_cubic',[n('Mul',['x0','w'],['x']),n('GridSample',['x','g'],['y'],mode='bicubic',padding_mode='border',align_corners=1),n('Mul',['y','y'],['y2']),loss('y2')],{'x0':r(1,2,5,6),'g':(rng.uniform(-1.6,1.6,(1,3,4,2))).astype(np.float32)},[init('w',r(1,2,5,6))],opset=16,flags=('--params','g'))
case('affine',[n('AffineGrid',['th','sz'],['g'],align_corners=0),n('Mul',['g','g'],['g2']),loss('g2')],{},[init('th',r(1,2,3)),init('sz',np.array([1,2,4,5],np.int64))],opset=20)
case('stn',[n('AffineGrid',['th','sz'],['g'],align_corners=0),n('GridSample',['x','g'],['y']),loss('y')],{'x':r(1,2,4,5)},[init('th',r(1,2,3)),init('sz',np.array([1,2,4,5],np.int64))],opset=20)
case('dft',[n('Mul',['x0','w'],['x']),n('DFT',['x','','ax'],['y']),n('Mul',['y','y'],['y2']),loss('y2')],{'x0':r(2,8,1)},[init('w',r(2,8,1)),init('ax',np.array(1,np.int64))],opset=20)
case('stft',[n('STFT',['x','st','w'],['y']),n('Mul',['y','y'],['y2']),loss('y2')],{'x':r(1,32,1)},[init('st',np.int64(4)),init('w',np.hanning(8).astype(np.float32))])
case('seq',[n('SplitToSequence',['x','two'],['s'],axis=1),n('SequenceAt',['s','i1'],['a']),n('SequenceAt',['s','im'],['b']),n('Mul',['a','b'],['ab']),n('SequenceConstruct',['ab','a','b'],['q']),n('ConcatFromSequence',['q'],['y'],axis=0,new_axis=1),n('MatMul',['y','w'],['z']),loss('z')],{'x':r(2,6)},[init('two',np.int64(2)),init('i1',np.int64(1)),init('im',np.int64(-1)),init('w',r(2,2))])
case('fp16',[n('Cast',['x'],['xh'],to=T.FLOAT16),n('MatMul',['xh','w'],['y']),n('Cast',['y'],['yf'],to=1),loss('yf')],{'x':r(2,3)},[init('w',r(3,2).astype(np.float16))])
case('fp16w',[n('Cast',['w'],['wf'],to=1),n('MatMul',['x','wf'],['y']),n('Cast',['w'],['wf2'],to=1),n('MatMul',['x','wf2'],['y3']),n('Add',['y','y3'],['yy']),loss('yy')],{'x':r(2,3)},[init('w',r(3,2).astype(np.float16))])
case('qdq',[n('DequantizeLinear',['wq','s','z'],['w'],axis=1),n('MatMul',['x','w'],['y']),loss('y')],{'x':r(2,3)},[init('wq',rng.integers(-128,127,(3,4)).astype(np.int8)),init('s',np.abs(r(4))*0.1),init('z',np.zeros(4,np.int8))],run=False)
case('double',[n('MatMul',['x','w'],['y']),loss('y')],{'x':rng.standard_normal((2,3))},[init('w',rng.standard_normal((3,3)))])
case('det',[n('MatMul',['x','w'],['y']),n('Det',['y'],['d']),loss('d')],{'x':r(2,3,3)},[init('w',r(3,3))])
case('dropout',[n('MatMul',['x','w'],['y']),n('Dropout',['y','rat','tr'],['d']),loss('d')],{'x':r(2,3)},[init('w',r(3,3)),init('rat',np.float32(.3)),init('tr',np.bool_(True))],flags=('--seed-masks','3'),run=False)
case('stochdepth',[n('MatMul',['x','w'],['y']),n('Shape',['y'],['s']),n('ConstantOfShape',['s'],['c'],value=h.make_tensor('v',F,[1],[0.])),n('RandomUniformLike',['c'],['u']),n('Add',['u','keep'],['k']),n('Floor',['k'],['m']),n('Mul',['y','m'],['ym']),loss('ym')],{'x':r(2,3)},[init('w',r(3,3)),init('keep',np.float32(.8))],flags=('--seed-masks','3'),run=False)
case('lstm',[n('LSTM',['x','W','R','B','','h0','c0'],['Y','Yh',''],hidden_size=3,direction='bidirectional'),n('ReduceMean',['Y'],['a'],keepdims=0),n('ReduceMean',['Yh'],['b'],keepdims=0),n('Add',['a','b'],['loss'])],{'x':r(4,2,3),'h0':r(2,2,3),'c0':r(2,2,3)},[init('W',r(2,12,3)),init('R',r(2,12,3)),init('B',r(2,24))],opset=14)
case('gru',[n('GRU',['x','W','R','B'],['Y','Yh'],hidden_size=3,linear_before_reset=1),n('ReduceMean',['Y'],['loss'],keepdims=0)],{'x':r(4,2,3)},[init('W',r(1,9,3)),init('R',r(1,9,3)),init('B',r(1,18))],opset=14)
case('resize',[n('Resize',['x','','sc'],['y'],mode='cubic',coordinate_transformation_mode='half_pixel'),n('Mul',['y','w'],['z']),loss('z')],{'x':r(1,1,4,4)},[init('sc',np.array([1,1,2,1.5],np.float32)),init('w',r(1,1,8,6))],opset=18)
case('scatter',[n('ScatterElements',['x','i','u'],['y'],axis=1,reduction='add'),n('Mul',['y','y'],['z']),loss('z')],{'x':r(2,4)},[init('i',np.array([[0,0],[1,3]],np.int64)),init('u',r(2,2))],opset=18)
case('where_nan',[n('IsNaN',['x'],['b']),n('Where',['b','zero','x'],['y']),n('MatMul',['y','w'],['z']),loss('z')],{'x':r(2,3)},[init('zero',np.float32(0)),init('w',r(3,2))])
case('zero_size',[n('MatMul',['x','w'],['y']),n('ReduceSum',['y'],['loss'],keepdims=0)],{'x':r(0,3)},[init('w',r(3,2))])
case('scalar_params',[n('Mul',['x','s'],['y']),n('Pow',['y','p'],['z']),loss('z')],{'x':np.abs(r(2,3))+.1},[init('s',np.float32(2)),init('p',np.float32(2.5))])
case('attention',[n('MatMul',['x','wq'],['q']),n('MatMul',['x','wk'],['k']),n('MatMul',['x','wv'],['v']),n('Attention',['q','k','v'],['y'],q_num_heads=2,kv_num_heads=2,is_causal=1),loss('y')],{'x':r(1,4,6)},[init('wq',r(6,6)),init('wk',r(6,6)),init('wv',r(6,6))],opset=23)
case('mask_inf',[n('MatMul',['x','w'],['s']),n('Where',['m','s','ninf'],['sm']),n('Softmax',['sm'],['p']),n('IsNaN',['p'],['nn']),n('Where',['nn','zero','p'],['p2']),n('MatMul',['p2','w'],['y']),loss('y')],{'x':r(3,3)},[init('w',r(3,3)),init('m',np.tril(np.ones((3,3),bool))),init('ninf',np.float32(-np.inf)),init('zero',np.float32(0))])
case('clipgrad_round',[n('MatMul',['x','w'],['y']),n('Round',['y'],['q']),loss('q')],{'x':r(2,3)},[init('w',r(3,3))])
case('argmax_index',[n('MatMul',['x','w'],['y']),n('ArgMax',['y'],['a'],axis=1,keepdims=1),n('GatherElements',['y','a'],['g'],axis=1),loss('g')],{'x':r(2,3)},[init('w',r(3,3))])
case('dupe_names',[n('MatMul',['x','w'],['y'],name='n'),n('Relu',['y'],['z'],name='n'),loss('z')],{'x':r(2,3)},[init('w',r(3,3))])
case('unicode',[n('MatMul',['x','<script>w'],['y'],name='é/../"'),loss('y')],{'x':r(2,3)},[init('<script>w',r(3,3))])
case('huge_shape',[n('ConstantOfShape',['s'],['c']),n('Add',['c','x'],['y']),loss('y')],{'x':r(1)},[init('s',np.array([1<<20,1<<20],np.int64))],run=False)
case('conv1d3d',[n('Conv',['x','w'],['y'],auto_pad='SAME_LOWER',dilations=[1,2,1],strides=[2,1,1]),n('GlobalAveragePool',['y'],['z']),loss('z')],{'x':r(1,2,4,5,6)},[init('w',r(3,2,2,2,3))])
case('convt',[n('ConvTranspose',['x','w'],['y'],strides=[2,2],output_padding=[1,0],group=2,pads=[1,0,0,1]),n('Mul',['y','y'],['z']),loss('z')],{'x':r(1,4,3,3)},[init('w',r(4,3,3,2))])
case('bn_train',[n('BatchNormalization',['x','s','b','m','v'],['y','rm','rv'],training_mode=1),n('Mul',['y','y'],['q']),n('Mul',['q','x'],['z']),loss('z')],{'x':r(3,2,4,4)},[init('s',r(2)),init('b',r(2)),init('m',r(2)),init('v',np.abs(r(2)))])
case('maxunpool',[n('MaxPool',['x'],['p','i'],kernel_shape=[2,2],strides=[2,2]),n('MaxUnpool',['p','i'],['y'],kernel_shape=[2,2],strides=[2,2]),n('Mul',['y','w'],['z']),loss('z')],{'x':r(1,1,4,4)},[init('w',r(1,1,4,4))])
case('maxunpool_net',[n('Conv',['x','w'],['c']),n('MaxPool',['c'],['p','i'],kernel_shape=[2,2],strides=[2,2]),n('MaxUnpool',['p','i'],['y'],kernel_shape=[2,2],strides=[2,2]),loss('y')],{'x':r(1,1,4,4)},[init('w',r(1,1,1,1))])
case('celoss_w',[n('MatMul',['x','w'],['y']),n('SoftmaxCrossEntropyLoss',['y','t','cw'],['loss'],ignore_index=1,reduction='mean')],{'x':r(4,3),'t':np.array([0,1,2,2])},[init('w',r(3,3)),init('cw',np.abs(r(3)))])
case('trilu_eye',[n('MatMul',['x','w'],['y']),n('Trilu',['y'],['z'],upper=0),n('EyeLike',['z'],['e']),n('Add',['z','e'],['q']),loss('q')],{'x':r(3,3)},[init('w',r(3,3))])
case('onehot',[n('OneHot',['t','d','v'],['o'],axis=-1),n('Mul',['o','x'],['y']),loss('y')],{'x':r(4,3),'t':np.array([0,1,2,-1])},[init('d',np.int64(3)),init('v',np.array([0,1],np.float32))])
case('groupnorm',[n('GroupNormalization',['x','s','b'],['y'],num_groups=2),n('Mul',['y','y'],['y2']),n('Mul',['y2','x'],['z']),loss('z')],{'x':r(2,4,3,3)},[init('s',r(4)),init('b',r(4))],opset=21)

with open(f'{HERE}/expected.json', 'w') as f:
    json.dump(expected, f, indent=1, sort_keys=True)
